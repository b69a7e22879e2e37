"""Index folders built beside each other and swapped by one row in the store.

A generation is a folder `<name>/` with the index's files and `manifest.json`. It is written under
another name, flushed to the disk, renamed, and only then recorded in the store together with the
SHA-256 of each file. Whatever moment the process dies at, the store names the old folder or the
new one, both whole; what it does not name is removed at the next start. The checksums are kept
apart from the files, so that nothing that changes a folder can change them alike.
"""

import hashlib
import json
import logging
import re
import secrets
import shutil
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import service
from service.errors import IndexDamagedError, StoreError
from service.index.document_store import DocumentStore, Snapshot
from service.index.durable import flush
from service.index.faiss_index import INDEX_FILE, PASSAGES_FILE, FaissIndex, kind_for
from service.index.records import GenerationRecord
from service.types import EncoderIdentity

FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"

_FILES = {INDEX_FILE, PASSAGES_FILE, MANIFEST_FILE}
_NAME = re.compile(r"g[0-9]{1,20}-[0-9a-f]{8}", re.ASCII)
_UNFINISHED = ".unfinished-"
_BATCH = 4096

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Generation:
    """An index that is loaded and known to be what was built."""

    name: str
    index: FaissIndex
    documents: int
    passages: int
    rebuilt_because: str | None
    """Why the one on the disk could not be used; None when it was."""


class _StaleError(Exception):
    """The recorded generation is sound but not the one that is wanted now."""


def open_or_build(
    store: DocumentStore, folder: Path, identity: EncoderIdentity, *, hnsw_threshold: int
) -> Generation:
    """Load the current generation under `folder`, or build one where it is damaged or out of date.

    Raises `IndexMismatchError` when the store's vectors belong to another encoder than `identity`,
    `StoreError` when a new generation cannot be written; the old one is then still current.
    """
    store.set_identity(identity)
    try:
        generation = _load(store, folder, identity, hnsw_threshold)
    except _StaleError as reason:
        _log.info("building the index: %s", reason)
        generation = _build(store, folder, identity, hnsw_threshold, str(reason))
    except IndexDamagedError as reason:
        _log.warning("the index is damaged and is built again from the store: %s", reason)
        generation = _build(store, folder, identity, hnsw_threshold, str(reason))
    _remove_others(folder, generation.name)
    return generation


def _load(
    store: DocumentStore, folder: Path, identity: EncoderIdentity, hnsw_threshold: int
) -> Generation:
    record = store.generation()
    if record is None:
        raise _StaleError("there is none yet")
    revision = store.revision()
    if record.revision != revision:
        raise _StaleError(f"documents changed since it was built ({record.name})")
    manifest = _verified_manifest(folder, record)
    wanted = {
        "format_version": FORMAT_VERSION,
        "encoder": asdict(identity),
        "kind": kind_for(store.counts().passages, hnsw_threshold),
    }
    for key, value in wanted.items():
        if manifest.get(key) != value:
            raise _StaleError(f"{key} is {manifest.get(key)} in {record.name}, {value} is wanted")
    index = FaissIndex.load(folder / record.name)
    return Generation(record.name, index, manifest["documents"], len(index), None)


def _verified_manifest(folder: Path, record: GenerationRecord) -> dict[str, Any]:
    """The manifest, once every file is what the store says. Raises `IndexDamagedError`."""
    # These names lead to files, so nothing is taken for granted about them.
    if not _NAME.fullmatch(record.name) or set(record.sha256) != _FILES:
        raise IndexDamagedError(f"the store's record of the index {record.name!r} is damaged")
    for file, wanted in sorted(record.sha256.items()):
        path = folder / record.name / file
        try:
            found = _sha256(path)
        except OSError as error:
            raise IndexDamagedError(f"{path} cannot be read: {error}") from error
        if found != wanted:
            raise IndexDamagedError(f"{path} has SHA-256 {found}, not {wanted}")
    manifest: dict[str, Any] = json.loads((folder / record.name / MANIFEST_FILE).read_bytes())
    return manifest


def _build(
    store: DocumentStore,
    folder: Path,
    identity: EncoderIdentity,
    hnsw_threshold: int,
    reason: str,
) -> Generation:
    with store.snapshot() as snapshot:
        index = FaissIndex.build(
            snapshot.vectors(_BATCH),
            dimension=identity.dimension,
            kind=kind_for(snapshot.counts.passages, hnsw_threshold),
        )
    created = datetime.now(UTC)
    name = f"g{snapshot.revision}-{secrets.token_hex(4)}"
    manifest = _manifest(index, snapshot, identity, created)
    try:
        sha256 = _write(folder, name, index, manifest)
    except OSError as error:
        raise StoreError(f"cannot write an index into {folder}: {error}") from error
    store.set_generation(GenerationRecord(name, snapshot.revision, created, sha256))
    _log.info("built the index %s: %d passages, %s", name, len(index), index.kind)
    return Generation(name, index, snapshot.counts.documents, len(index), reason)


def _manifest(
    index: FaissIndex, snapshot: Snapshot, identity: EncoderIdentity, created: datetime
) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "package_version": service.__version__,
        "created": created.isoformat(timespec="seconds"),
        "encoder": asdict(identity),
        "kind": index.kind,
        "documents": snapshot.counts.documents,
        "passages": snapshot.counts.passages,
        "store_revision": snapshot.revision,
    }


def _write(folder: Path, name: str, index: FaissIndex, manifest: dict[str, Any]) -> dict[str, str]:
    """Put a whole generation at `folder/name`, on the disk; returns the SHA-256 of each file."""
    unfinished = folder / f"{_UNFINISHED}{name}"
    try:
        unfinished.mkdir()
        index.save(unfinished)
        (unfinished / MANIFEST_FILE).write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
        sha256 = {file: _sha256(unfinished / file) for file in sorted(_FILES)}
        for path in [*(unfinished / file for file in sha256), unfinished]:
            flush(path)
        unfinished.rename(folder / name)
        flush(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return sha256


def _remove_others(folder: Path, current: str) -> None:
    """Remove what earlier builds left, finished or not; never a folder that is not ours."""
    for path in folder.iterdir():
        name = path.name.removeprefix(_UNFINISHED)
        if _NAME.fullmatch(name) and path.name != current:
            shutil.rmtree(path, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
