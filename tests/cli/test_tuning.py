"""What a process sets before torch is loaded."""

import os
import subprocess
import sys

_PROGRAM = """
import os, sys
from service.cli import tune_process
assert "torch" not in sys.modules
tune_process()
import torch
"""


def test_openmp_reads_how_briefly_its_threads_wait() -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("GOMP_", "OMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env=environment | {"OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
        check=True,
    )
    if sys.platform.startswith("linux"):
        assert "GOMP_SPINCOUNT = '300'" in done.stderr
