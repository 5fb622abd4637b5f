"""Live page: watch tracks in a browser while they are made."""
