"""From a torch checkpoint to an ONNX model whose graph decodes by itself."""
