"""CUDA without a framework: memory, streams, kernels, the letterbox kernel."""
