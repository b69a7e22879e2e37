"""A client that costs next to nothing: one connection, kept alive, and no checks."""

import http.client
import json
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.speed.processes import BenchError

TIMEOUT = 600.0


class Connection:
    """Requests one after another to a port of the loopback."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)

    def post(self, path: str, body: Mapping[str, Any]) -> tuple[dict[str, Any], float]:
        """The answer and the milliseconds from the first byte sent to the last one read.

        Raises `BenchError` for any status but 200, and `OSError` where nobody listens.
        """
        payload = json.dumps(body).encode()
        began = time.perf_counter()
        self._connection.request("POST", path, payload, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        read = response.read()
        milliseconds = 1000 * (time.perf_counter() - began)
        if response.status != http.client.OK:
            raise BenchError(f"status {response.status} from {path}")
        answer: dict[str, Any] = json.loads(read)
        return answer, milliseconds

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
