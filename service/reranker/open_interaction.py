"""Interaction rerankers as the settings want them."""

from service.models.opening import Opening
from service.protocols import Reranker
from service.reranker.interaction import read_config
from service.reranker.interaction_reranker import InteractionReranker


def open_reranker(opening: Opening) -> Reranker:
    """Load the head and share its base's transformer. Raises `ModelSourceError`."""
    model = opening.prepare()
    base, encoder = opening.base(model, read_config(model.folder).layers)
    settings = opening.settings
    return InteractionReranker(
        model.folder,
        base.folder,
        encoder,
        model=model.name,
        weights_sha256=model.weights_sha256,
        cache_bytes=settings.rerank_cache_mb * 1_000_000,
        # The number of bits changes the logits although the weights are the same.
        variant="four bits",
        kept=settings.cache_dir / "models" / f"pieces-{base.weights_sha256[:16]}",
    )
