"""Results as a page, Markdown and a picture."""
