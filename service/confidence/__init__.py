"""Stage five: from what ordered the hits to a probability and a word."""
