"""The tracker: association presets, Kalman filter, assignment."""
