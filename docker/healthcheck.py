"""Ends with 0 when the server in this container is ready for searches, else with 1 and why not."""

import http.client
import os
import sys


def problem(port: int) -> str | None:
    """What keeps the server on this port from being ready, or None."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=4)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        said = answer.read(2000).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        return f"no answer on port {port}: {error}"
    finally:
        connection.close()
    return None if answer.status == http.client.OK else said


if __name__ == "__main__":
    sys.exit(problem(int(os.environ.get("SECONDPASS_PORT", "8000"))))
