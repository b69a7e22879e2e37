"""(query, passage) pairs to logits."""
