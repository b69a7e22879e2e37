"""Stage 1: texts are cleaned, and long documents are cut into passages."""
