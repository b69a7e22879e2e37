import numpy as np

from service.evaluation.candidates import Candidates
from service.evaluation.retrieval import rerank_runs

FOUND = Candidates(
    documents=["a", "b", "c", "d"],
    passages=[1, 2, 3, 4],
    cosines=np.array([0.9, 0.8, 0.7, 0.6]),
    logits=np.array([-1.0, -0.9, 5.0]),
    language="en",
)


def order(share: str, depth: int = 3) -> str:
    runs = rerank_runs({"q": FOUND}, [0.05, 0.9], depth)
    return "".join(document for document, _ in runs[share]["q"])


def test_the_reranker_alone_fused_and_not_at_all() -> None:
    assert order("retrieval") == "abcd"
    assert order("pure") == "cbad"
    assert order("fused 0.05") == "abcd"
    assert order("fused 0.9") == "cabd"


def test_what_is_below_the_depth_stays_where_it_is() -> None:
    assert order("pure", depth=2) == "bacd"
    assert order("pure", depth=1) == "abcd"
