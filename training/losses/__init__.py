"""Targets, losses and how they are balanced."""
