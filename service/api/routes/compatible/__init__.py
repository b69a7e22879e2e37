"""Endpoints in the formats of other services, so that their clients work unchanged."""
