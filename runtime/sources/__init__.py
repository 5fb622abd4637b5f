"""Frames from files, folders, sequences, cameras and streams."""
