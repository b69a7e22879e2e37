"""What a collection may have other than the server's settings, and which models it may name."""

from collections.abc import Mapping

from service.engine.build import NO_MODEL
from service.engine.opening import settings_of
from service.errors import InvalidInputError
from service.models.registry import REGISTRY, Kind
from service.models.sources import is_at_hand
from service.settings import PER_COLLECTION, Settings
from service.store.catalog import SettingValue


def effective_settings(
    own: Mapping[str, SettingValue], settings: Settings, *, trusted: bool = False
) -> Settings:
    """The settings of the collection. Only a `trusted` caller may name unknown models.

    A client's request must not make the server read a folder or download a model that the operator
    did not choose. It may name the server's own models, those in `allowed_models`, and those of the
    registry that are on the server's disk already. Raises `InvalidInputError`.
    """
    if unknown := sorted(own.keys() - set(PER_COLLECTION)):
        raise InvalidInputError(
            f"a collection has no setting {unknown[0]!r}; it has {', '.join(PER_COLLECTION)}",
            f"settings.{unknown[0]}",
        )
    if not trusted:
        _require_allowed(own, settings)
    return settings_of(own, settings)


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
        spec = REGISTRY.get(str(name))
        if spec and spec.kind in fitting and is_at_hand(spec.name, cache_dir=settings.cache_dir):
            continue
        raise InvalidInputError(
            f"{field} must be the server's own, one that its setting allowed_models lists, or a "
            "model of the registry that is on its disk already (`secondpass models prepare`); not "
            f"{str(name)[:200]!r}",
            f"settings.{field}",
        )
