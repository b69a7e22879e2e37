"""Two-stage search: a bi-encoder recalls, a cross-encoder reranks, each hit says how sure it is."""

from importlib.metadata import version

from service.native import switch_telemetry_off

__version__ = version("secondpass")

switch_telemetry_off()
