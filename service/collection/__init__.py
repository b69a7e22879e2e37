"""Readers that turn files into documents, and labelled folders into collections."""

from service.collection.beir import Collection, data_sha256, read_beir
from service.collection.files import count_rows, read_documents
from service.collection.rows import Row

__all__ = ["Collection", "Row", "count_rows", "data_sha256", "read_beir", "read_documents"]
