"""Activation ranges of a model."""
