"""Read and write weights."""
