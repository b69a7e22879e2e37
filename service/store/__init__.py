"""Documents, passages, token states, catalog, filters: SQLite, the source of truth."""
