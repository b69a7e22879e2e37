"""Two-stage search: a bi-encoder recalls, a cross-encoder reranks, each hit says how sure it is."""

from importlib.metadata import version

__version__ = version("secondpass")
