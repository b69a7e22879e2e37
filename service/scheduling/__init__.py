"""Whose turn it is: permits, deadlines, shares of the models' time, batches."""
