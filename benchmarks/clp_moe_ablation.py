"""What each part of the recipe clp-moe brings: the ablation of its source, in small.

    python benchmarks/clp_moe_ablation.py rows --data DATA --work WORK
    python benchmarks/clp_moe_ablation.py step random --data DATA --work WORK
    ...
    python benchmarks/clp_moe_ablation.py report --work WORK --out benchmarks/results/clp-moe.json

`rows` mines the training rows once with the base; `step` trains one step and measures it (`base` is
only measured); `report` puts together what has been measured. A step that was interrupted goes on
where it stopped. DATA has BEIR folders `tydiqa-LANGUAGE-train` and `tydiqa-LANGUAGE-dev`.
"""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from service.datasets import Collection, data_sha256, open_collection, write_training_rows
from service.encoder.bi_encoder import BiEncoder
from service.evaluation.measures import per_query
from service.evaluation.provenance import provenance
from service.evaluation.significance import bootstrap_interval, paired
from service.models.sources import prepare
from service.settings import Settings
from service.text.normalizer import NORMALIZER_VERSION
from service.training.mining import Choice, from_collection, mine
from service.training.mining.rankings import rank_dense
from service.training.recipe import load_recipe
from service.training.trainer import run
from service.types import EncoderIdentity

LANGUAGES = ("ko", "sw")
MEASURE = "ndcg@5"
SEED = 42

_PLAIN = ["options.loss=infonce", "options.train=all", "options.experts=0"]
STEPS: Mapping[str, Sequence[str]] = {
    "random": ["options.negatives=random", *_PLAIN],
    "ance": _PLAIN,
    "clp": _PLAIN[1:],
    "intermediate": _PLAIN[2:],
    "moe": [],
}
TITLES = {
    "base": "base, not trained",
    "random": "random negatives",
    "ance": "ANCE negatives",
    "clp": "+ CLP",
    "intermediate": "+ intermediate layers only",
    "moe": "+ MoE (the whole recipe)",
}

app = typer.Typer(add_completion=False)
Data = Annotated[Path, typer.Option(help="Folder of the collections.")]
Work = Annotated[Path, typer.Option(help="Folder for rows, models and measurements.")]


@app.command()
def rows(
    data: Data,
    work: Work,
    queries: Annotated[int, typer.Option(help="Of each language; 0 takes all.")] = 0,
    passages: Annotated[int, typer.Option(help="Of each language; 0 takes all.")] = 0,
    window: Annotated[int, typer.Option(help="Tokens of a text.")] = 128,
) -> None:
    """Mine with the base, without titles: `WORK/LANGUAGE.jsonl`."""
    choice = Choice(
        rank_max=30, margin=None, pick="random", complete=True, negative_queries=True, seed=SEED
    )
    work.mkdir(parents=True, exist_ok=True)
    encoder = _encoder("e5-small", window)
    for language in LANGUAGES:
        out = work / f"{language}.jsonl"
        if out.exists():
            continue
        collection = open_collection(data / f"tydiqa-{language}-train")
        examples = from_collection(_part(_untitled(collection), queries, passages))
        asked, found = (
            encoder.encode_queries(examples.queries),
            encoder.encode_passages(examples.passages),
        )
        mined = mine("dense", examples, choice, (asked, found))
        written = write_training_rows(out, mined.rows)
        typer.echo(f"{out}: {written} rows of {len(examples.passages)} passages")


@app.command()
def step(
    name: Annotated[str, typer.Argument(help=", ".join(TITLES))],
    data: Data,
    work: Work,
    change: Annotated[list[str] | None, typer.Option("--set", help="As for `train`.")] = None,
    window: Annotated[int, typer.Option(help="Tokens of a text that is measured.")] = 128,
) -> None:
    """Train one step of the ablation, and measure it on the development sets."""
    settings = Settings()
    if name != "base":
        recipe = load_recipe("clp-moe", ["training.test_share=0", *STEPS[name], *(change or [])])
        labels = [work / f"{language}.jsonl" for language in LANGUAGES]

        def tell(progress: Any) -> None:
            typer.echo(f"{name}: {progress}", err=True)

        run(recipe, labels, work / name, settings, on_progress=tell)
        (work / f"{name}.recipe.json").write_text(recipe.model_dump_json(indent=2) + "\n")
    encoder = _encoder("e5-small" if name == "base" else str(work / name), window)
    values = {
        language: _measure(encoder, open_collection(data / f"tydiqa-{language}-dev"))
        for language in LANGUAGES
    }
    (work / f"{name}.measured.json").write_text(json.dumps(values) + "\n")
    (work / "data.json").write_text(json.dumps(_hashes(data)) + "\n")
    typer.echo(f"{name}: {_means(values)}")


@app.command()
def report(
    work: Work,
    out: Annotated[Path, typer.Option(help="The result file; a table goes to standard output.")],
) -> None:
    """Each step's nDCG@5 with its interval, and what it changes to the step before and to base."""
    measured = {
        name: json.loads(path.read_text())
        for name in TITLES
        if (path := work / f"{name}.measured.json").exists()
    }
    names = list(measured)
    steps = {
        name: {
            "title": TITLES[name],
            "languages": {
                language: _judged(
                    measured[name][language],
                    measured[names[max(0, place - 1)]][language],
                    measured["base"][language],
                )
                for language in LANGUAGES
            },
            "mean": sum(_means(measured[name]).values()) / len(LANGUAGES),
            "mean_to_base": _mean_change(measured["base"], measured[name]),
            "training": _course(work / name / "training.json"),
        }
        for place, name in enumerate(names)
    }
    last = work / f"{names[-1]}.recipe.json"
    result = {
        "recipe": "clp-moe",
        "measure": MEASURE,
        "command": shlex.join(["python", *sys.argv]),
        "setting": "each language's development passages without titles",
        "data_sha256": json.loads((work / "data.json").read_text()),
        "rows": {lang: _lines(work / f"{lang}.jsonl") for lang in LANGUAGES},
        "recipe_values": json.loads(last.read_text()) if last.exists() else None,
        "steps": steps,
        **provenance(SEED),
    }
    out.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    typer.echo(_table(steps))


def _untitled(collection: Collection) -> Collection:
    """With titles, which name the answer's subject, a question is too easy to tell more apart."""
    return replace(collection, documents=[replace(d, title="") for d in collection.documents])


def _part(collection: Collection, queries: int, passages: int) -> Collection:
    """The first queries and passages by id, which says nothing of their content."""
    chosen = sorted(collection.qrels)[: queries or None]
    right = {document for query in chosen for document in collection.qrels[query]}
    ordered = sorted(collection.documents, key=lambda d: (d.id not in right, d.id))
    kept = ordered[: max(passages, len(right)) if passages else None]
    # Further labels of the kept passages: queries that they, as negatives, do answer.
    ids = {document.id for document in kept}
    judged = {query: grades for query, grades in collection.qrels.items() if ids.issuperset(grades)}
    return replace(collection, documents=kept, qrels=judged)


def _encoder(name: str, window: int) -> BiEncoder:
    settings = Settings()
    found = prepare(name, "bi-encoder", cache_dir=settings.cache_dir, offline=True)
    identity = EncoderIdentity(
        model=found.name,
        weights_sha256=found.weights_sha256,
        dimension=found.dimension or 0,
        query_prefix=found.query_prefix,
        passage_prefix=found.passage_prefix,
        max_length=min(window, found.max_length),
        normalizer_version=NORMALIZER_VERSION,
    )
    return BiEncoder(found.folder, identity, batch_tokens=settings.batch_tokens, device="cpu")


def _measure(encoder: BiEncoder, collection: Collection) -> dict[str, float]:
    examples = from_collection(_untitled(collection))
    queries = encoder.encode_queries(examples.queries)
    passages = encoder.encode_passages(examples.passages)
    rankings = rank_dense(queries, passages, examples, Choice(rank_max=5))
    found = {q: [str(p) for p in r.places] for q, r in zip(examples.queries, rankings, strict=True)}
    right = zip(examples.queries, examples.positives, strict=True)
    qrels = {query: {str(place): 1 for place in places} for query, places in right}
    return per_query(qrels, found, (MEASURE,))[MEASURE]


def _judged(
    values: Mapping[str, float], before: Mapping[str, float], base: Mapping[str, float]
) -> dict[str, Any]:
    low, high = bootstrap_interval(list(values.values()), SEED)
    return {
        "queries": len(values),
        "mean": sum(values.values()) / len(values),
        "low": low,
        "high": high,
        "to_step_before": paired(before, values, SEED),
        "to_base": paired(base, values, SEED),
    }


def _mean_change(
    before: Mapping[str, Mapping[str, float]], after: Mapping[str, Mapping[str, float]]
) -> dict[str, float]:
    """Of the mean over the languages, each drawn within itself."""
    changes = [
        [value - before[language][query] for query, value in sorted(values.items())]
        for language, values in after.items()
    ]
    low, high = bootstrap_interval(changes[0], SEED, *changes[1:])
    mean = sum(sum(of) / len(of) for of in changes) / len(changes)
    return {"mean": mean, "low": low, "high": high}


def _means(values: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {name: sum(of.values()) / len(of) for name, of in values.items()}


def _hashes(data: Path) -> dict[str, str]:
    names = [f"tydiqa-{lang}-{part}" for lang in LANGUAGES for part in ("train", "dev")]
    return {name: data_sha256(data / name) for name in names}


def _course(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    return {key: record[key] for key in ("commit", "steps", "seconds", "precision", "parameters")}


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def _table(steps: Mapping[str, Any]) -> str:
    head = ["step", *LANGUAGES, "mean", *(f"{lang}: to the step before" for lang in LANGUAGES)]
    head.append("mean: to the base")
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for name, found in steps.items():
        of = found["languages"]
        cells = [found["title"]]
        cells += [f"{v['mean']:.4f} ({v['low']:.3f} to {v['high']:.3f})" for v in of.values()]
        cells.append(f"{found['mean']:.4f}")
        for change in (v["to_step_before"] for v in of.values()):
            cells.append(_change(change["mean"], change["bootstrap_low"], change["bootstrap_high"]))
        cells.append(_change(**found["mean_to_base"]))
        if name == "base":
            cells[-3:] = ["", "", ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _change(mean: float, low: float, high: float) -> str:
    return f"{mean:+.4f} ({low:+.4f} to {high:+.4f})"


if __name__ == "__main__":
    app()
