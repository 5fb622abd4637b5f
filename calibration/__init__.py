"""INT8 calibration judged by tracking."""
