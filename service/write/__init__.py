"""The way of a document: accept, chunk, encode, store, index."""
