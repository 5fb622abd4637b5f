"""The Python face of jdetrt."""
