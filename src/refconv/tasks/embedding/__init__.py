"""Embeddings: samples of a class near one another."""
