"""The settings that a collection has of its own, and the models that a client may name."""

from collections.abc import Mapping

from pydantic import ValidationError

from service.errors import InvalidInputError
from service.models.model_kinds import KINDS
from service.models.registry import REGISTRY
from service.models.sources import is_at_hand
from service.settings import NO_MODEL, PER_COLLECTION, Settings, settings_about
from service.store.catalog import SettingValue

_STAGES = ("encoder", "reranker")
"""The settings that name a model, by the stage of its kind."""


def settings_of(own: Mapping[str, SettingValue], settings: Settings) -> Settings:
    """The server's settings, overridden by the collection's own.

    If the collection has another encoder, the server's settings about its encoder do not apply.
    Raises `InvalidInputError` if the result is invalid.
    """
    if unknown := sorted(own.keys() - Settings.model_fields.keys()):
        raise InvalidInputError(f"there is no setting {unknown[0]!r}", f"settings.{unknown[0]}")
    values = settings.model_dump()
    if own.get("encoder", settings.encoder) != settings.encoder:
        values |= dict.fromkeys(settings_about("encoder"))
    try:
        return Settings.model_validate({**values, **own})
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False)[0]
        field = str(found["loc"][0]) if found["loc"] else "passage_overlap"
        message = found["msg"].removeprefix("Value error, ")
        raise InvalidInputError(f"{field}: {message}", f"settings.{field}") from error


def checked_settings(
    own: Mapping[str, SettingValue], settings: Settings, *, trusted: bool = False
) -> Settings:
    """As `settings_of`, for settings that a caller asks for. Raises `InvalidInputError`.

    Only a `trusted` caller may name any model. A client's request must not make the server read a
    folder or download a model that the operator did not choose. A client may name the server's own
    models, those in `allowed_models`, and registered models that are on the server's disk.
    """
    if unknown := sorted(own.keys() - set(PER_COLLECTION)):
        raise InvalidInputError(
            f"a collection has no setting {unknown[0]!r}; it has {', '.join(PER_COLLECTION)}",
            f"settings.{unknown[0]}",
        )
    if not trusted:
        for field in _STAGES:
            if own.get(field) is not None:
                _require_allowed(field, str(own[field]), settings)
    return settings_of(own, settings)


def _require_allowed(field: str, name: str, settings: Settings) -> None:
    if name in {getattr(settings, field), *settings.allowed_models}:
        return
    if field == "reranker" and name == NO_MODEL:
        return
    spec = REGISTRY.get(name)
    its_stage = KINDS[spec.kind].stage if spec else None
    if its_stage == field and is_at_hand(name, cache_dir=settings.cache_dir):
        return
    raise InvalidInputError(
        f"{field} must be the server's own, one in its setting allowed_models, or a registered "
        "model that is on its disk already (`secondpass models prepare`); it is not "
        f"{name[:200]!r}",
        f"settings.{field}",
    )
