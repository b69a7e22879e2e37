"""One ordering score out of two stages."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def fuse(cosines: Sequence[float], logits: Sequence[float], weight: float) -> NDArray[np.float64]:
    """The score that orders candidates when the reranker has the share `weight` (0 to 1).

    The order is that of `weight * z(logit) + (1 - weight) * z(cosine)`, z-scored within these
    candidates. For 0 < weight < 1 that sum is scaled and shifted, alike for all candidates, to be
    the cosine moved by what the reranker adds:

        cosine + weight / (1 - weight) * std(cosine) * z(logit)

    so the score keeps the cosine's meaning between queries, which a calibration needs and plain
    z-scores lose (the best of nothing would look like the best of much). Weight 1 gives the
    logits, weight 0 the cosines. Shape (n,); one candidate alone keeps its cosine.
    """
    cosine, logit = np.asarray(cosines, np.float64), np.asarray(logits, np.float64)
    if weight >= 1.0:
        return logit
    spread = float(logit.std())
    if weight <= 0.0 or spread == 0.0:
        return cosine
    share = weight / (1.0 - weight) * float(cosine.std()) / spread
    moved: NDArray[np.float64] = cosine + share * (logit - logit.mean())
    return moved
