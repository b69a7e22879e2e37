"""Models on the hub: its cache folder on this machine first, then the hub itself."""

from contextlib import suppress
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from service.errors import ModelSourceError, UnknownModelError
from service.models.folder import has_weights

# No pickles, as loading one runs its code; no program code; no other engine's copies.
_WANTED = ["*.json", "*.txt", "*.model", "*.safetensors", "README.md"]
_UNWANTED = ["onnx/*", "openvino/*", ".*"]


def find_on_hub(repository: str, *, offline: bool) -> Path:
    """The model's snapshot folder.

    A complete snapshot in the cache is taken without asking the hub: a start needs no network, and
    a model never changes under an index. Raises `UnknownModelError` when the model is not
    available, `ModelSourceError` when it has no safetensors weights.
    """
    with suppress(UnknownModelError):
        cached = _snapshot(repository, offline=True)
        if has_weights(cached):
            return cached
    folder = _snapshot(repository, offline=offline)
    if not has_weights(folder):
        raise ModelSourceError(
            f"{repository} has no complete safetensors weights, and no other kind is read: save "
            "the model as safetensors and give that folder"
        )
    return folder


def _snapshot(repository: str, *, offline: bool) -> Path:
    try:
        folder = snapshot_download(
            repository, local_files_only=offline, allow_patterns=_WANTED, ignore_patterns=_UNWANTED
        )
    except HFValidationError as error:
        raise UnknownModelError(f"{repository} is no hub name") from error
    except RepositoryNotFoundError as error:
        raise UnknownModelError(
            f"the hub has no model {repository}, or shows it only to those whom it admits"
        ) from error
    except (EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled) as error:
        where = "and the hub is switched off" if offline else "and the hub did not give it"
        raise UnknownModelError(
            f"{repository} is not complete in the hub's cache folder, {where}"
        ) from error
    return Path(folder)
