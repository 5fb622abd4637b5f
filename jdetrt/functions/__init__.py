"""Functions of the Python API, beside `track`: models are loaded, made and measured."""
