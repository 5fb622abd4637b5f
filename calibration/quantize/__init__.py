"""Quantised ONNX graphs."""
