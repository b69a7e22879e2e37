"""What native libraries read from the environment while they are loaded."""

import os


def switch_telemetry_off() -> None:
    """Keep ONNX Runtime from counting what it is used for and sending it home."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def wait_briefly() -> None:
    """Let OpenMP's threads give up their core soon where they wait for each other.

    By default they wait up to 15 ms in a loop, on a core that other threads need.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "300")
