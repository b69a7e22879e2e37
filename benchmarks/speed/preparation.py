"""All that has to be there before the first system is started."""

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tokenizers import Tokenizer

from benchmarks.speed import corpus as corpora
from benchmarks.speed import systems as kinds
from benchmarks.speed.environments import environment, same_torch, versions_in
from benchmarks.speed.measure import Say
from benchmarks.speed.processes import BenchError, run
from benchmarks.speed.systems import VARIANTS, System
from service.backend_record import record_file
from service.models.registry import REGISTRY
from service.models.sources import prepare
from service.reranker.backends import recorded_backend
from service.settings import Settings

ENCODER, RERANKER = "e5-small", "minilm-l6-v0"
WINDOW = 240
"""Tokens of the encoder that a document of a collection may fill: one passage in any system."""


@dataclass
class Prepared:
    """Corpus and systems, none of them started; why others are missing."""

    corpus: corpora.Corpus
    count_tokens: corpora.CountTokens
    systems: list[System]
    packages: dict[str, dict[str, str]] = field(default_factory=dict)
    not_measured: dict[str, str] = field(default_factory=dict)
    auto_backend: str | None = None


def prepared(
    work: Path, collection: Path | None, passages: int, only: Sequence[str], say: Say
) -> Prepared:
    """Models, corpus, both indexes, the other environments. `only`: parts of systems' names."""
    say("the models")
    encoder, reranker, backend = _models(work / "logs")
    say("the corpus")
    count_tokens = counter(reranker)
    if collection is None:
        corpus = corpora.made(work / "corpora", passages, passages * 6 // 10, count_tokens)
    else:
        corpus = corpora.of_collection(
            work / "corpora", collection, WINDOW, counter(encoder), passages
        )
    found = Prepared(corpus, count_tokens, [], auto_backend=backend)
    ways = {"in process", "HTTP"}
    folder, logs = work / "runs" / corpus.folder.name, work / "logs"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    say("sentence-transformers' index")
    flat = _stock_index(corpus, work / "stock" / corpus.folder.name, encoder, logs)
    say("this service's index")
    _ingest(found, folder, logs)
    made = [kinds.stock(way, encoder, reranker, flat, logs) for way in sorted(ways, reverse=True)]
    made += _others(found, work, reranker, logs, only)
    for variant in VARIANTS:
        for way in sorted(ways, reverse=True):
            data_dir = folder / f"{variant}-{way.replace(' ', '-')}"
            shutil.copytree(folder / "data", data_dir)
            made.append(kinds.secondpass(variant, way, data_dir, logs))
    found.systems = [s for s in made if not only or any(part in s.name for part in only)]
    return found


def _models(logs: Path) -> tuple[Path, Path, str]:
    """Folders of encoder and cross-encoder, and the backend that `auto` stands for on this CPU.

    It is measured once, so that runs on one machine compare the same; `secondpass models prepare
    minilm-l6-v0` measures it anew.
    """
    settings = Settings()
    encoder, reranker = (
        prepare(
            name, REGISTRY[name].kind, cache_dir=settings.cache_dir, offline=settings.hub_offline
        )
        for name in (ENCODER, RERANKER)
    )
    digest = reranker.weights_sha256
    if not record_file(settings.cache_dir, digest).exists():
        logs.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "service", "models", "prepare", RERANKER]
        run(command, logs / "prepare.log")
    return encoder.folder, reranker.folder, recorded_backend(settings.cache_dir, digest)


def counter(model: Path) -> corpora.CountTokens:
    """Counts tokens as a model's tokenizer does, special ones left out."""
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def count(texts: Sequence[str]) -> list[int]:
        encoded = tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [len(one.ids) for one in encoded]

    return count


def _stock_index(corpus: corpora.Corpus, folder: Path, encoder: Path, logs: Path) -> Path:
    """The one of an earlier run, where there is one: nothing of this service is in it."""
    if not folder.exists():
        unfinished = folder.with_name(f".{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        rows = list(corpus.passages.items())
        (unfinished / "stock.json").write_text(json.dumps(rows), encoding="utf-8")
        module = [sys.executable, "-m", "benchmarks.speed.workers.stock", "index"]
        run([*module, str(encoder), "-", str(unfinished)], logs / "stock-index.log")
        unfinished.rename(folder)
    return folder


def _ingest(found: Prepared, folder: Path, logs: Path) -> None:
    """With the default settings: a variant reads what it needs of it."""
    command = [sys.executable, "-m", "service", "ingest", str(found.corpus.folder)]
    run([*command, "--data-dir", str(folder / "data")], logs / "ingest.log")


def _others(
    found: Prepared, work: Path, reranker: Path, logs: Path, only: Sequence[str]
) -> list[System]:
    """Other packages' systems; one that cannot be installed is told, and left out."""
    made: list[System] = []
    for name in ("infinity", "flashrank"):
        if only and not any(part in name for part in only):
            continue
        try:
            python = environment(work, name, *([same_torch()] if name == "infinity" else []))
            found.packages[name] = versions_in(python)
            if name == "infinity":
                made.append(kinds.infinity(python, reranker, logs))
            else:
                made.append(kinds.flashrank(python, _onnx(work, reranker, logs), logs))
        except BenchError as failure:
            found.not_measured[name] = str(failure)
    return made


def _onnx(work: Path, reranker: Path, logs: Path) -> Path:
    out = work / "onnx" / reranker.name
    if not out.exists():
        module = "benchmarks.speed.workers.onnx_folder"
        run([sys.executable, "-m", module, str(reranker), str(out)], logs / "onnx.log")
    return out
