"""Vectors: FAISS, generations on the disk, and the live index that follows the store."""
