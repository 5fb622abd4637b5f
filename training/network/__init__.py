"""The network: bodies, pyramid, heads, anchors."""
