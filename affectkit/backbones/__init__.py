"""Embedding models: one plugin a file."""
