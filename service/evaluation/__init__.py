"""How good is it: run -> metrics -> confidence -> report."""
