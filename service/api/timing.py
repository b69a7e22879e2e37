"""The header `Server-Timing`."""

from collections.abc import Mapping


def server_timing(timings_ms: Mapping[str, float]) -> str:
    """Stages and their milliseconds as the header has them."""
    return ", ".join(f"{stage};dur={milliseconds}" for stage, milliseconds in timings_ms.items())
