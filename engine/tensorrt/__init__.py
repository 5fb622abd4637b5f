"""TensorRT: build plans, load them and run them."""
