"""Processes that are started, waited for, measured and stopped by their own number."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 300.0
STOP_SECONDS = 20.0

_OURS = ("SECONDPASS_", "GLIBC_TUNABLES", "OMP_", "MKL_", "MALLOC_", "TORCH")
"""Variables that would change what one of the systems does; none is handed on."""


class BenchError(Exception):
    """A system that cannot be measured, and why, in words without this machine's paths."""


class Process:
    """A command in the project's folder, with an environment that is the same for all."""

    def __init__(
        self, command: Sequence[str], log: Path, *, pipes: bool = False, **variables: str
    ) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log, self.began = log, time.perf_counter()
        pipe = subprocess.PIPE if pipes else subprocess.DEVNULL
        with log.open("wb") as file:
            self._process = subprocess.Popen(  # noqa: S603 - commands of this package
                command,
                cwd=ROOT,
                env=_environment(variables),
                stdin=pipe,
                stdout=pipe if pipes else file,
                stderr=file,
                text=True,
            )

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def wait_until(self, ready: Callable[[], bool], seconds: float = START_SECONDS) -> float:
        """Seconds from the start until `ready`.

        Raises `BenchError` where it ends before, or takes longer.
        """
        while not ready():
            if self._process.poll() is not None:
                raise BenchError(
                    f"ended with status {self._process.returncode}: {self.last_words()}"
                )
            if time.perf_counter() - self.began > seconds:
                raise BenchError(f"not ready after {seconds:.0f} s: {self.last_words()}")
            time.sleep(0.02)
        return time.perf_counter() - self.began

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """One line of JSON there and one back; raises `BenchError` where it has ended."""
        there, back = self._process.stdin, self._process.stdout
        if there is None or back is None:
            raise BenchError("this process has no pipes")
        try:
            there.write(json.dumps(request) + "\n")
            there.flush()
            line = back.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise BenchError(f"ended: {self.last_words()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def last_words(self) -> str:
        """The last line of its log, as it may stand in a result."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return without_paths(lines[-1]) if lines else "no words"

    def peak_mb(self) -> float | None:
        """Most memory (VmHWM) of it and its children so far, added up, in 10^6 bytes.

        None where there is no /proc.
        """
        peaks = [_peak_kb(pid) for pid in _tree(self._process.pid)]
        return round(1.024 * sum(peaks) / 1000, 1) if peaks and all(peaks) else None

    def stop(self) -> None:
        """End it; kills it where it takes too long."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def run(command: Sequence[str], log: Path) -> None:
    """Run to its end; raises `BenchError` with its last words."""
    with log.open("wb") as file:
        done = subprocess.run(  # noqa: S603 - commands of this package
            command,
            cwd=ROOT,
            env=_environment({}),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:]
        raise BenchError(without_paths(" ".join(errors)) or f"ended with status {done.returncode}")


def without_paths(text: str) -> str:
    """The text without addresses and folders of this machine, 300 characters at most."""
    words = ["..." if "://" in word or word.count("/") > 1 else word for word in text.split()]
    return " ".join(words)[:300]


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(_OURS)}
    offline = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    return {**kept, **offline, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **variables}


def _tree(pid: int) -> list[int]:
    if not sys.platform.startswith("linux"):
        return []
    children = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        found = [int(child) for child in children.read_text().split()]
    except OSError:
        return [pid]
    return [pid, *(below for child in found for below in _tree(child))]


def _peak_kb(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    lines = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(lines[0].split()[1]) if lines else 0
