"""What a collection may have other than the server's settings, and which models it may name."""

from collections.abc import Mapping

from service.errors import InvalidInputError
from service.index.catalog import CollectionRecord, SettingValue
from service.models.registry import REGISTRY, Kind
from service.pipeline.build import NO_MODEL
from service.pipeline.opening import settings_of
from service.settings import Settings

OWN_SETTINGS = (
    "encoder",
    "embedding_dimensions",
    "reranker",
    "passage_tokens",
    "passage_overlap",
    "passages_per_document",
    "rerank_depth",
    "search_mode",
    "hybrid_fusion",
    "hybrid_weight",
    "hnsw_threshold",
)


def effective_settings(
    record: CollectionRecord, settings: Settings, *, trusted: bool = False
) -> Settings:
    """The settings that the collection works with. Whoever is not `trusted` names known models.

    A client's request must not make the server read any folder or fetch any model: it may name
    what the registry has, what the server itself uses, and what `allowed_models` lists. Raises
    `InvalidInputError`.
    """
    own = record.settings
    if unknown := sorted(own.keys() - set(OWN_SETTINGS)):
        raise InvalidInputError(
            f"a collection has no setting {unknown[0]!r}; it has {', '.join(OWN_SETTINGS)}",
            f"settings.{unknown[0]}",
        )
    if not trusted:
        _require_allowed(own, settings)
    return settings_of(record, settings)


def _require_allowed(own: Mapping[str, SettingValue], settings: Settings) -> None:
    kinds: dict[str, tuple[Kind, ...]] = {
        "encoder": ("bi-encoder",),
        "reranker": ("cross-encoder", "interaction"),
    }
    for field, fitting in kinds.items():
        name = own.get(field)
        if name is None or name in {getattr(settings, field), *settings.allowed_models}:
            continue
        if field == "reranker" and name == NO_MODEL:
            continue
        known = sorted(n for n, spec in REGISTRY.items() if spec.kind in fitting)
        if name not in known:
            raise InvalidInputError(
                f"{field} may be one of {', '.join(known)}, the server's own, or one that its "
                f"setting allowed_models lists; not {str(name)[:200]!r}",
                f"settings.{field}",
            )
