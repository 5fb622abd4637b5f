"""From an ONNX model to a plan, on whatever TensorRT is installed."""
