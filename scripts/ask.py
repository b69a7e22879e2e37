"""Asks a server that is starting: `ask.py URL`. Ends with 0 once it answers a search rightly.

Run by any Python 3, so it uses the standard library alone.
"""

import http.client
import json
import sys
import time
import urllib.error
import urllib.request
from typing import Any

READY_WITHIN_S = 300
DOCUMENTS = {
    "tea": "Green tea is steeped at eighty degrees.",
    "bread": "Sourdough bread rises slowly overnight.",
}


def ask(url: str, method: str = "GET", body: dict[str, Any] | None = None) -> Any:
    """The JSON that the server answers."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def wait_until_ready(url: str) -> None:
    """Return when /readyz is 200; exit when it has not been for `READY_WITHIN_S`."""
    said: object = None
    end = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < end:
        try:
            ask(f"{url}/readyz")
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            said = error
            time.sleep(1)
        else:
            return
    sys.exit(f"error: {url} was not ready within {READY_WITHIN_S} s: {said}")


def main(url: str) -> None:
    """Store two documents and search for one of them."""
    wait_until_ready(url)
    for name, text in DOCUMENTS.items():
        ask(f"{url}/documents/{name}?wait=true", "PUT", {"text": text})
    answer = ask(f"{url}/search", "POST", {"query": "how long does dough take to rise"})
    found = [hit["id"] for hit in answer["hits"]]
    if found[:1] != ["bread"] or answer["rerank"]["status"] != "complete":
        sys.exit(f"error: the search found {found}, rerank {answer['rerank']}")
    print(f"{url} is ready and answers: {answer['hits'][0]['text']}")


if __name__ == "__main__":
    main(sys.argv[1])
