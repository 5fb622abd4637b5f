"""Targets, losses and their balance."""
