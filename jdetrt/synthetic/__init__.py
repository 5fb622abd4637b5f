"""Rendered clips and generated detections, with ground truth."""
