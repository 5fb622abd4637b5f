"""Accuracy: detection, embeddings, tracking, agreement of two models."""
