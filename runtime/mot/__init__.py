"""MOT Challenge: its files, its classes, its public detections."""
