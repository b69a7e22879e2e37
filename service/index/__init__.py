"""Stage three: passages and their vectors, kept safe in SQLite and searched through FAISS."""
