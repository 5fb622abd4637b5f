"""Results as a page, Markdown and an image."""
