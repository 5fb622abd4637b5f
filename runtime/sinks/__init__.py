"""Tracks as text, video and images."""
