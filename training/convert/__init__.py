"""Convert public data sets into JDE label files."""
