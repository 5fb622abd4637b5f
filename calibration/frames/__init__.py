"""Choose and record calibration frames."""
