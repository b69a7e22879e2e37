"""Requests and answers on the wire, as pydantic models. Their names stay."""
