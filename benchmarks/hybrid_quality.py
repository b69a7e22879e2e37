"""Stage one alone, by vectors, by words and by both, on labelled collections.

The service's own retriever, a document being one passage that ends with the encoder's window. Each
query is encoded once and found in every way; vectors of documents are kept in the cache folder.

    python benchmarks/hybrid_quality.py --collection DIR --collection DIR ... [--queries 300]
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from service.datasets import data_sha256, open_collection
from service.evaluation.measures import means, per_query
from service.evaluation.observations import sample
from service.evaluation.provenance import provenance
from service.evaluation.searching import opened
from service.evaluation.significance import paired
from service.search.retriever import Hybrid, Retriever
from service.settings import Settings
from service.text.normalizer import normalize
from service.types import Mode

CANDIDATES = 100
MEASURES = ("ndcg@10", "recall@100", "accuracy@1")
WAYS: dict[str, tuple[Mode, Hybrid]] = {
    "dense": ("dense", Hybrid()),
    "sparse": ("sparse", Hybrid()),
    **{f"rrf {weight}": ("hybrid", Hybrid("rrf", weight)) for weight in (0.1, 0.2, 0.5)},
    **{
        f"weighted {weight}": ("hybrid", Hybrid("weighted", weight))
        for weight in (0.1, 0.2, 0.3, 0.5)
    },
}


def main() -> None:
    """Write the figures as JSON to standard output."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--collection", type=Path, action="append", required=True)
    parser.add_argument("--queries", type=int, help="of each collection; all by default")
    parser.add_argument("--encoder", default="e5-small")
    arguments = parser.parse_args()
    settings = Settings(encoder=arguments.encoder, reranker="none", hub_offline=True)
    collections = {}
    for path in arguments.collection:
        collections[path.name] = measured(settings, path, arguments.queries)
        sys.stderr.write(f"{path.name}: {json.dumps(collections[path.name]['ways'])}\n")
    mean = {
        way: {
            name: round(
                sum(of["ways"][way][name] for of in collections.values()) / len(collections), 4
            )
            for name in MEASURES
        }
        for way in WAYS
    }
    report = {
        **provenance(0),
        "encoder": arguments.encoder,
        "queries_at_most": arguments.queries,
        "collections": collections,
        "mean": mean,
    }
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


def measured(settings: Settings, path: Path, queries: int | None) -> dict[str, Any]:
    """Figures of each way over one collection, and nDCG@10 against the dense mode's."""
    labelled = open_collection(path)
    chosen = sample(labelled.qrels, queries, 0)
    runs: dict[str, dict[str, list[str]]] = {way: {} for way in WAYS}
    with opened(settings, path, chunked=False) as it:
        engine = it.engine
        encoder, main_ = engine.searcher.encoder, engine.collection()
        index = engine.searcher.retriever.index
        retrievers = {
            way: (
                mode,
                Retriever(main_.folder.store, index, passages_per_document=4, hybrid=hybrid),
            )
            for way, (mode, hybrid) in WAYS.items()
        }
        for query in chosen:
            text = normalize(labelled.queries[query], max_chars=100_000).text
            vectors = encoder.encode_queries([text])
            for way, (mode, retriever) in retrievers.items():
                found = retriever.find(vectors, CANDIDATES, {}, text=text, mode=mode).found
                runs[way][query] = list(dict.fromkeys(f.passage.document_id for f in found))
    judged = {query: labelled.qrels[query] for query in chosen}
    values = {way: per_query(judged, run, MEASURES) for way, run in runs.items()}
    return {
        "data_sha256": data_sha256(path),
        "queries": len(chosen),
        "ways": {
            way: {name: round(figure, 4) for name, figure in means(of).items()}
            for way, of in values.items()
        },
        "ndcg@10_against_dense": {
            way: difference(values["dense"]["ndcg@10"], of["ndcg@10"])
            for way, of in values.items()
            if way != "dense"
        },
    }


def difference(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Mean difference, its 95 % interval by Student's t, and queries won and lost."""
    found = paired(before, after)
    return {
        "mean": round(found["mean"], 4),
        "low": round(found["low"], 4),
        "high": round(found["high"], 4),
        "won": found["won"],
        "lost": found["lost"],
    }


if __name__ == "__main__":
    main()
