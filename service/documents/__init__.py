"""Readers of users' files: each row becomes a document, or the reason why it is none."""
