"""The edge: HTTP in, HTTP out. Nothing behind it knows of HTTP."""
