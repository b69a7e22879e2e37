"""Losses that sentence-transformers has not."""
