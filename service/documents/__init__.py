"""Readers of users' files: each row becomes a document or is refused with a reason."""
