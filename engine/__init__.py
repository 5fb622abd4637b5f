"""Inference sessions: ONNX Runtime now, TensorRT plans beside it."""
