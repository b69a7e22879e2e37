"""All that has to be there before the first system is started."""

import json
import random
import shutil
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tokenizers import Tokenizer

from benchmarks.speed import corpus as corpora
from benchmarks.speed import systems as kinds
from benchmarks.speed.environments import environment, same_torch, versions_in
from benchmarks.speed.matrix import passage_gflop
from benchmarks.speed.processes import BenchError, run
from benchmarks.speed.prose import sentences
from benchmarks.speed.systems import (
    BARE,
    BARE_INT8,
    BARE_TURNS,
    FASTEMBED,
    OURS_INGEST,
    STOCK,
    VARIANTS,
    System,
)
from service.backend_record import Record
from service.encoder.measuring import chosen_backends
from service.models.registry import REGISTRY
from service.models.sources import prepare
from service.reranker.backend_choice import recorded_backend
from service.settings import Settings

ENCODER, RERANKER = "e5-small", "minilm-l6-v0"
WINDOW = 240
"""Tokens of the encoder that a document of a collection may fill: one passage in any system."""


@dataclass
class Prepared:
    """Corpus and systems, none of them started; why others are missing.

    `load` are queries without labels, for as many searches as a run can ask.
    """

    corpus: corpora.Corpus
    count_tokens: corpora.CountTokens
    load: list[str]
    systems: list[System] = field(default_factory=list)
    packages: dict[str, dict[str, str]] = field(default_factory=dict)
    not_measured: dict[str, str] = field(default_factory=dict)
    backends: dict[str, str] = field(default_factory=dict)
    """What `auto` stands for on this CPU."""
    passage_gflop: float = 0.0
    """Of the encoder, for a passage, on average."""


def prepared(
    work: Path,
    collection: Path | None,
    passages: int,
    only: Sequence[str],
    say: Callable[[str], None],
) -> Prepared:
    """Models, corpus, both indexes, the other environments. `only`: parts of systems' names."""
    say("the models")
    logs = work / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    encoder, reranker, backends = _models(logs)
    say("the corpus")
    count_tokens = counter(reranker)
    if collection is None:
        corpus = corpora.made(work / "corpora", passages, passages * 6 // 10, count_tokens)
    else:
        corpus = corpora.of_collection(
            work / "corpora", collection, WINDOW, counter(encoder), passages
        )
    found = Prepared(corpus, count_tokens, _sentences(corpus), backends=backends)
    counts = counter(encoder)([f"passage: {text}" for text in corpus.passages.values()])
    found.passage_gflop = statistics.mean(passage_gflop(encoder, count + 2) for count in counts)
    say("the indexes")
    exported = {
        kind: _exported(work, kind, folder, logs)
        for kind, folder in (("encoder", encoder), ("cross-encoder", reranker))
    }
    found.systems = [*_own(corpus, work, logs), *_onnx(corpus, work, exported, logs)]
    stock = kinds.vectors(
        STOCK, "sentence-transformers", str(encoder), ("queries", "passages"), logs
    )
    found.systems += [stock, *_others(found, work, exported["encoder"], (encoder, reranker), only)]
    if only:
        found.systems = [s for s in found.systems if any(part in s.name for part in only)]
    return found


def _models(logs: Path) -> tuple[Path, Path, dict[str, str]]:
    """Folders of encoder and cross-encoder, and the backends that `auto` stands for on this CPU.

    These are measured once, so that runs on one machine compare the same; `secondpass models
    prepare` measures them again.
    """
    settings = Settings()
    encoder, reranker = models = [
        prepare(
            name, REGISTRY[name].kind, cache_dir=settings.cache_dir, offline=settings.hub_offline
        )
        for name in (ENCODER, RERANKER)
    ]
    for model in models:
        if Record.read(settings.cache_dir, model.weights_sha256, settings.threads) is None:
            command = [sys.executable, "-m", "service", "models", "prepare", model.name]
            run(command, logs / f"prepare-{model.name}.log")
    chosen = chosen_backends(settings, encoder)
    backends = {
        "queries": chosen.queries,
        "passages": chosen.passages,
        "cross-encoder": recorded_backend(
            settings.cache_dir, reranker.weights_sha256, settings.threads
        ),
    }
    return encoder.folder, reranker.folder, backends


def counter(model: Path) -> corpora.CountTokens:
    """Counts tokens as a model's tokenizer does, special ones left out."""
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def count(texts: Sequence[str]) -> list[int]:
        encoded = tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [len(one.ids) for one in encoded]

    return count


def _sentences(corpus: corpora.Corpus) -> list[str]:
    """Those of the passages that are as long as a query, each once, in an order of no meaning."""
    found = dict.fromkeys(
        sentence
        for text in corpus.passages.values()
        for sentence in sentences(text)
        if corpora.QUERY_WORDS[0] <= len(sentence.split()) <= corpora.QUERY_WORDS[1]
    )
    return random.Random(corpora.SEED).sample(list(found), len(found))  # noqa: S311 - no secret


def _exported(work: Path, kind: str, model: Path, logs: Path) -> Path:
    """The folder with the model's weights as ONNX; that of an earlier run where there is one."""
    out = work / "onnx" / model.name
    if not out.exists():
        module = "benchmarks.speed.workers.onnx_folder"
        run([sys.executable, "-m", module, kind, str(model), str(out)], logs / f"{kind}.log")
    return out


def _own(corpus: corpora.Corpus, work: Path, logs: Path) -> list[System]:
    """This service, over folders of its own; what each variant needs is in an ingest by default."""
    folder = work / "runs" / corpus.folder.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "service", "ingest", str(corpus.folder)]
    run([*command, "--data-dir", str(folder / "data")], logs / "ingest.log")
    made = []
    for number, variant in enumerate(VARIANTS):
        data_dir = folder / f"data-{number}"
        shutil.copytree(folder / "data", data_dir)
        made.append(kinds.secondpass(variant, data_dir, logs))
    return [*made, kinds.vectors(OURS_INGEST, "secondpass", "", ("passages",), logs)]


def _onnx(
    corpus: corpora.Corpus, work: Path, exported: dict[str, Path], logs: Path
) -> list[System]:
    """Bare passes, and searches with a flat index of what the float32 encoder makes."""
    whole, int8 = (exported["encoder"] / f"{name}.onnx" for name in ("model", "model_int8"))
    folder = work / "flat" / corpus.folder.name
    if not folder.exists():
        unfinished = folder.with_name(f".{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        rows = list(corpus.passages.items())
        (unfinished / "passages.json").write_text(json.dumps(rows), encoding="utf-8")
        module = [sys.executable, "-m", "benchmarks.speed.workers.onnx_search", "index"]
        run([*module, str(whole), str(unfinished)], logs / "flat.log")
        unfinished.rename(folder)
    return [
        kinds.onnx_search(int8, folder, logs),
        kinds.onnx_search(int8, folder, logs, exported["cross-encoder"] / "model_int8.onnx"),
        kinds.vectors(BARE, "onnx", str(whole), ("1 client",), logs),
        kinds.vectors(BARE_INT8, "onnx", str(int8), BARE_TURNS, logs),
    ]


def _others(
    found: Prepared, work: Path, onnx: Path, models: tuple[Path, Path], only: Sequence[str]
) -> list[System]:
    """Packages in environments of their own; one that cannot be installed is told and left out."""
    made: list[System] = []
    logs = work / "logs"
    for name in ("infinity", "fastembed"):
        if only and not any(part in name or name in part for part in only):
            continue
        try:
            python = environment(work, name, *([same_torch()] if name == "infinity" else []))
            found.packages[name] = versions_in(python)
        except BenchError as failure:
            found.not_measured[name] = str(failure)
            continue
        if name == "fastembed":
            file = str(onnx / "model_int8.onnx")
            made.append(kinds.vectors(FASTEMBED, name, file, BARE_TURNS, logs, python))
        else:
            encoder, reranker = models
            passages = list(found.corpus.passages.values())
            made.append(kinds.infinity(python, encoder, logs, None))
            made.append(kinds.infinity(python, reranker, logs, passages))
    return made
