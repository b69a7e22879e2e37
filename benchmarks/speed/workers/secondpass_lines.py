"""This service without HTTP: the searcher that the server calls.

python -m benchmarks.speed.workers.secondpass_lines SETTINGS_JSON
"""

import asyncio
import json
import sys
from typing import Any

from benchmarks.speed.workers.lines import Answer, serve
from service.engine.engine import open_engine
from service.memory import keep_freed_memory
from service.search.query import Query
from service.settings import Settings


def load() -> Answer:
    """Open the folder and answer on one event loop, as `secondpass serve` does."""
    keep_freed_memory()
    engine = open_engine(Settings(**json.loads(sys.argv[1])), jobs=False)
    loop = asyncio.new_event_loop()

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        result = loop.run_until_complete(engine.collection().searcher.search(Query(**request)))
        return {
            "hits": [{"id": hit.id, "score": hit.score} for hit in result.hits],
            "timings_ms": result.timings_ms,
            "rerank": {"status": result.rerank.status, "reason": result.rerank.reason},
        }

    return answer


if __name__ == "__main__":
    serve(load)
