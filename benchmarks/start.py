"""From the start of `secondpass serve` on an existing data folder to its first answer.

python -m benchmarks.start --data-dir data
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from benchmarks.speed.processes import free_port

LOOK_EVERY_S = 0.05
MOST_S = 300.0


def main() -> None:
    """Write wall and processor seconds and the peak of memory, medians of all rounds, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3, help="beside one that warms the caches")
    arguments = parser.parse_args()
    rounds = [_start(arguments.data_dir) for _ in range(arguments.rounds + 1)][1:]
    report = {name: round(statistics.median(r[name] for r in rounds), 2) for name in rounds[0]}
    about = {"machine": platform.machine(), "processors": os.cpu_count(), "rounds": len(rounds)}
    sys.stdout.write(json.dumps({**about, "load_average": os.getloadavg()[0], **report}) + "\n")


def _start(data_dir: Path) -> dict[str, float]:
    port = free_port()
    command = [sys.executable, "-m", "service", "serve", "--data-dir", str(data_dir)]
    began = time.perf_counter()
    with subprocess.Popen(  # noqa: S603
        [*command, "--port", str(port), "--log-level", "error"]
    ) as server:
        try:
            _first_answer(port, began + MOST_S)
            seconds = time.perf_counter() - began
            used = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
            status = Path(f"/proc/{server.pid}/status").read_text().splitlines()
        finally:
            server.terminate()
    (peak,) = (line for line in status if line.startswith("VmHWM"))
    ticks = (int(used[11]) + int(used[12])) / os.sysconf("SC_CLK_TCK")
    return {"seconds": seconds, "processor_s": ticks, "peak_mb": int(peak.split()[1]) / 1024}


def _first_answer(port: int, end: float) -> None:
    body = json.dumps({"query": "ready"}).encode()
    while time.perf_counter() < end:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/search", body, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request) as answer:  # noqa: S310
                answer.read()
                return
        except (urllib.error.URLError, ConnectionError):  # not there yet, or not ready
            time.sleep(LOOK_EVERY_S)
    raise TimeoutError(f"no answer in {MOST_S:.0f} s")


if __name__ == "__main__":
    main()
