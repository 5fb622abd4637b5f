"""Events: crossings of lines and stays in zones."""
