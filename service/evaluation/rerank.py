"""A reranker over stage one's first candidates: alone, and fused with the cosine."""

from collections.abc import Mapping, Sequence

from service.evaluation.candidates import Candidates
from service.evaluation.trec import ScoredRun

RETRIEVAL = "retrieval"
PURE = "pure"


def rerank_runs(
    candidates: Mapping[str, Candidates], weights: Sequence[float], depth: int
) -> dict[str, ScoredRun]:
    """Rankings by name: `retrieval`, `pure` (by logit) and `fused W` for each share in `weights`.

    The first `depth` passages are reordered, those below follow in stage one's order. A share W is
    as for `confidence.ranking.rank`; 1 is the reranker alone.
    """
    shares = {RETRIEVAL: 0.0, PURE: 1.0, **{fused_name(weight): weight for weight in weights}}
    runs: dict[str, ScoredRun] = {}
    for name, share in shares.items():
        ordered = {query: found.ranked(share, depth) for query, found in candidates.items()}
        runs[name] = {
            query: [
                (candidates[query].documents[place], score)
                for place, score in zip(of.places, of.scores.tolist(), strict=True)
            ]
            for query, of in ordered.items()
        }
    return runs


def fused_name(weight: float) -> str:
    """The name of the ranking in which the reranker has this share."""
    return f"fused {weight:g}"
