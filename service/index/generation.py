"""Index folders built beside each other and swapped by one row in the store.

A generation is a folder `<name>/` with the index's files and `manifest.json`. It is written under
another name, flushed to the disk, renamed, and only then recorded in the store with the SHA-256 of
each file. Whenever the process dies, the store names a complete folder, the old one or the new one;
the next start removes all others. What damages a folder cannot change the checksums alike.
"""

import hashlib
import json
import logging
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import service
from service.durable import intended_name, new_folder, write_json
from service.errors import IndexDamagedError
from service.index.index_kinds import KINDS, kind_for
from service.protocols import VectorIndex
from service.store_protocol import Store
from service.types import GenerationRecord, Ids, IndexIdentity, Vectors

FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"

_NAME = re.compile(r"g[0-9]{1,20}-[0-9a-f]{8}", re.ASCII)
_BATCH = 4096
_NEVER = sys.maxsize
_LEAST_CHANGES = 4096
"""Up to this many passages are searched beside any generation: they cost little."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Generation:
    """An index that is loaded and known to be what was built."""

    name: str
    index: VectorIndex
    rebuilt_because: str | None
    """Why the one on the disk could not be used; None when it was."""
    damaged: bool = False
    """Whether that was because of damage."""


class _StaleError(Exception):
    """The recorded generation is sound but not the one that is wanted now."""


def open_or_build(
    store: Store,
    folder: Path,
    identity: IndexIdentity,
    *,
    hnsw_threshold: int,
    complete: bool = False,
) -> Generation:
    """Load the current generation under `folder`, or build one if none is sound.

    A `LiveIndex` adds later changes, and a later `build` makes a graph: no start waits for either.
    With `complete`, any change since makes a generation too old, and so does another kind than
    `hnsw_threshold` asks for. Raises `IndexMismatchError` if the store's vectors belong to another
    encoder than `identity`, `StoreError` if a new generation cannot be written; the old one then
    stays current.
    """
    store.set_identity(identity)
    threshold = hnsw_threshold if complete else _NEVER
    try:
        generation = _load(store, folder, identity, hnsw_threshold if complete else None)
    except (_StaleError, IndexDamagedError) as reason:
        damaged = isinstance(reason, IndexDamagedError)
        why = "the index is damaged and is built again" if damaged else "building the index"
        _log.log(logging.WARNING if damaged else logging.INFO, "%s: %s", why, reason)
        built = build(store, folder, identity, hnsw_threshold=threshold)
        generation = replace(built, rebuilt_because=str(reason), damaged=damaged)
    remove_others(folder, generation.name)
    return generation


def worth_building(base: VectorIndex, changes: int, hnsw_threshold: int) -> bool:
    """Whether a generation should give way to a new one after `changes`, or to a graph."""
    # A start builds no graph, because that may take minutes.
    needs_graph = base.kind == "flat" and kind_for(base.built_size, hnsw_threshold) == "hnsw"
    return needs_graph or changes > max(_LEAST_CHANGES, base.built_size // 8)


def _load(
    store: Store, folder: Path, identity: IndexIdentity, complete_threshold: int | None
) -> Generation:
    with store.view() as view:
        record = view.generation
    if record is None:
        raise _StaleError("there is none yet")
    manifest = _verified_manifest(folder, record)
    wanted = {"format_version": FORMAT_VERSION, "encoder": asdict(identity)}
    for key, value in wanted.items():
        if manifest.get(key) != value:
            raise _StaleError(f"{key} is {manifest.get(key)} in {record.name}, {value} is wanted")
    found = KINDS.get(str(manifest.get("kind")))
    if found is None:
        raise _StaleError(f"kind is {manifest.get('kind')} in {record.name}, which is unknown")
    index = found.load(folder / record.name)
    if complete_threshold is not None:
        with store.view() as view:
            kind = kind_for(view.counts.passages, complete_threshold)
            changes = view.changes_since(index.last_passage)
        if index.kind != kind:
            raise _StaleError(f"kind is {index.kind} in {record.name}, {kind} is wanted")
        if changes:
            raise _StaleError(f"{changes} passages changed since it was built ({record.name})")
    return Generation(record.name, index, None)


def _verified_manifest(folder: Path, record: GenerationRecord) -> dict[str, Any]:
    """The manifest, once every file is what the store says. Raises `IndexDamagedError`."""
    # These names lead to files, so nothing is taken for granted about them.
    known = [kind.FILES | {MANIFEST_FILE} for kind in KINDS.values()]
    if not _NAME.fullmatch(record.name) or set(record.sha256) not in known:
        raise IndexDamagedError(f"the store's record of the index {record.name!r} is damaged")
    for file, wanted in sorted(record.sha256.items()):
        path = folder / record.name / file
        try:
            found = _sha256(path)
        except OSError as error:
            raise IndexDamagedError(f"{path} cannot be read: {error}") from error
        if found != wanted:
            raise IndexDamagedError(f"{path} has SHA-256 {found}, not {wanted}")
    try:
        manifest: dict[str, Any] = json.loads((folder / record.name / MANIFEST_FILE).read_bytes())
    except OSError as error:  # another process builds the next one, and this one went just now
        raise IndexDamagedError(f"{record.name} cannot be read: {error}") from error
    return manifest


def build(
    store: Store,
    folder: Path,
    identity: IndexIdentity,
    *,
    hnsw_threshold: int,
    use: Callable[[Generation], None] = lambda _generation: None,
    go_on: Callable[[], None] = lambda: None,
) -> Generation:
    """Write a generation of all that the store holds now, and make it the current one.

    `use` gets it just before that: the record cuts the list of removed passages, without which
    searches in the previous one cannot follow the store. The previous folder stays: see
    `remove_others`. `go_on` is called for each batch and may raise to stop. Raises `StoreError`.
    """
    with store.view() as view:
        counts, revision, last = view.counts, view.revision, view.last_passage
        _, removed = view.removed()
    kind = kind_for(counts.passages, hnsw_threshold)
    passages = _passages(store, last, go_on)
    index = KINDS[kind].build(
        passages, dimension=identity.dimension, kind=kind, expected=counts.passages
    )
    created = datetime.now(UTC)
    name = f"g{revision}-{secrets.token_hex(4)}"
    manifest = {
        "format_version": FORMAT_VERSION,
        "package_version": service.__version__,
        "created": created.isoformat(timespec="seconds"),
        "encoder": asdict(identity),
        "kind": index.kind,
        "documents": counts.documents,
        "passages": counts.passages,
        "store_revision": revision,
    }
    with new_folder(folder / name) as unfinished:
        index.save(unfinished)
        write_json(unfinished / MANIFEST_FILE, manifest)
        sha256 = {
            file: _sha256(unfinished / file) for file in sorted((*index.FILES, MANIFEST_FILE))
        }
    generation = Generation(name, index, None)
    try:
        use(generation)
        store.set_generation(GenerationRecord(name, revision, created, sha256), removed)
    except BaseException:  # on a full disk it must not stand in the way of the next try
        shutil.rmtree(folder / name, ignore_errors=True)
        raise
    _log.info("built the index %s: %d passages, %s", name, len(index), index.kind)
    return generation


def _passages(store: Store, last: int, go_on: Callable[[], None]) -> Iterator[tuple[Ids, Vectors]]:
    """Those with ids up to `last`, each batch from a view of its own.

    A graph takes minutes, and an open view keeps the write-ahead log from being cut. Passages that
    are removed meanwhile may be missing: the list of removed passages has them.
    """
    after = 0
    while after < last:
        go_on()
        with store.view() as view:
            ids, vectors = next(view.vectors(_BATCH, after), (np.empty(0, np.int64), None))
        wanted = int(np.searchsorted(ids, last, side="right"))
        if vectors is None or not wanted:
            return
        yield ids[:wanted], vectors[:wanted]
        after = int(ids[-1])


def is_whole(folder: Path, name: str, kind: str) -> bool:
    """Whether all files of a generation are there; what is in them the next start compares."""
    return all((folder / name / file).is_file() for file in (*KINDS[kind].FILES, MANIFEST_FILE))


def remove_others(folder: Path, current: str) -> None:
    """Remove what earlier builds left, finished or not; never a folder that is not ours."""
    for path in folder.iterdir():
        if _NAME.fullmatch(intended_name(path.name)) and path.name != current:
            shutil.rmtree(path, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
