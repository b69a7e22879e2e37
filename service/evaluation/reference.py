"""What the searches of a calibration look like, so that a server can tell when its own differ."""

from collections.abc import Iterable

from service.confidence.calibration import MIXED, Calibration, Histogram, Measure
from service.confidence.drift import WORD_BORDERS, counted, tenths
from service.confidence.judge import ORDER, Thresholds
from service.evaluation.candidates import Observed


def reference(collections: Iterable[Observed], artifact: Calibration) -> dict[Measure, Histogram]:
    """Histograms over the queries as they are: length, and the logit and word of the first hit.

    Words are those of `artifact`. A query that would be reranked and was not is left out.
    """
    thresholds = Thresholds.of(artifact)
    lengths, logits, words = [], [], []
    for search in (search for seen in collections for search in seen.searches.values()):
        found = search.answered
        share = artifact.share(found.language)
        if not found.documents or (share > 0.0 and not len(found.logits)):
            continue
        ordered = found.ranked(share, artifact.rerank_depth)
        curves = artifact.mixed_curves if found.language == MIXED else artifact.curves
        curve, first = curves.get(ordered.ordering), ordered.places[0]
        probability = curve.probability([float(ordered.basis[0])])[0] if curve else None
        lengths.append(search.tokens)
        words.append(ORDER[thresholds.word(probability)])
        if first < min(len(found.logits), artifact.rerank_depth):
            logits.append(float(found.logits[first]))
    made: dict[Measure, Histogram] = {}
    if lengths:
        made["query_tokens"] = counted(lengths, tenths(lengths))
        made["confidence"] = counted(words, WORD_BORDERS)
    if logits:
        made["logit"] = counted(logits, tenths(logits))
    return made
