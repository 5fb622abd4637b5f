"""From frames to tracks, without torch."""
