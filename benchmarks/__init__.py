"""Speed and accuracy, measured and written down as JSON."""
