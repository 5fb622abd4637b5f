"""Hand-over of models to engines that distribute inference: Triton, DeepStream."""
