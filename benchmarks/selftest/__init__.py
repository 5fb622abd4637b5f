"""Everything about TensorRT that only a GPU can show, in a quarter of an hour: ``selftest gpu``."""
