"""The header `Server-Timing`."""

from collections.abc import Mapping
from typing import Any

DECLARED: dict[int | str, dict[str, Any]] = {
    200: {
        "headers": {
            "Server-Timing": {
                "description": "Milliseconds of each stage.",
                "schema": {"type": "string"},
                "example": "normalize;dur=0.1, encode;dur=12.0, total;dur=12.9",
            }
        }
    }
}
"""For a route that sends the header."""


def server_timing(timings_ms: Mapping[str, float]) -> str:
    """Stages and their milliseconds as the header has them."""
    return ", ".join(f"{stage};dur={milliseconds}" for stage, milliseconds in timings_ms.items())
