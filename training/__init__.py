"""The JDE network, its anchors and its checkpoints (PyTorch)."""
