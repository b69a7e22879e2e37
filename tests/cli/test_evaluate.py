"""`secondpass evaluate` on a small library, with models of a few kilobytes."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from service.datasets import data_sha256
from tests.cli.test_commands import Done, secondpass
from tests.fixtures.library import DOCUMENTS, QUESTIONS
from tests.fixtures.small_models import write_small_encoder, write_small_reranker

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Two encoders and a reranker, each with weights of its own."""
    folder = tmp_path_factory.mktemp("models")
    return (
        write_small_encoder(folder / "one", seed=1),
        write_small_encoder(folder / "two", seed=2),
        write_small_reranker(folder / "three", seed=3),
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def rows(path: Path, values: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(value, ensure_ascii=False) for value in values]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


CORPUS = [{"_id": d.id, "title": d.title, "text": d.text} for d in DOCUMENTS]
QUERIES = [{"_id": f"q{i}", "text": text} for i, text in enumerate(QUESTIONS)]


def beir(folder: Path, documents: int = len(DOCUMENTS)) -> Path:
    kept = {d.id for d in DOCUMENTS[:documents]}
    rows(folder / "corpus.jsonl", CORPUS[:documents])
    rows(folder / "queries.jsonl", QUERIES)
    judged = [f"q{i}\t{d}\t1" for i, d in enumerate(QUESTIONS.values()) if d in kept]
    text = "\n".join(["query-id\tcorpus-id\tscore", *judged]) + "\n"
    (folder / "qrels.tsv").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return beir(tmp_path_factory.mktemp("labels") / "library")


def evaluate(kind: str, models: tuple[Path, Path, Path], cache: Path, *arguments: object) -> Done:
    settings = ["--cache-dir", cache, "--hub-offline", "--threads", 1]
    if kind != "crossencoder":
        settings += ["--encoder", models[0]]
    if kind != "pairs":
        settings += ["--reranker", models[2]]
    done = secondpass("evaluate", kind, *settings, *arguments)
    assert "Traceback" not in done.stderr
    return done


def test_systems_stand_side_by_side_and_again_as_run_files(
    models: tuple[Path, Path, Path], cache: Path, library: Path, tmp_path: Path
) -> None:
    systems = ("--system", "one=reranker=none", "--system", f"two=encoder={models[1]}")
    out = tmp_path / "out"
    done = evaluate("retrieval", models, cache, "--collection", library, *systems, "--out", out)
    assert done.returncode == 0, done.stderr
    report = json.loads((out / "report.json").read_text())
    found = report["collections"]["library"]
    assert (found["queries"], len(found["data_sha256"])) == (len(QUESTIONS), 64)
    assert list(found["rankings"]) == list(report["systems"]) == ["one", "two"]
    hashes = {s["models"]["encoder"]["weights_sha256"] for s in report["systems"].values()}
    assert len(hashes) == 2
    assert report["systems"]["one"]["models"]["reranker"] is None
    reranker = report["systems"]["two"]["models"]["reranker"]
    assert len(reranker["weights_sha256"]) == 64
    assert reranker["variant"].startswith("window 512")
    assert {"commit", "seed", "versions"} <= set(report)
    assert {c["ranking"] for c in found["comparisons"]} == {"two"}
    assert f"| library | {len(QUESTIONS)} | two |" in done.stdout
    assert "## library" in (out / "report.md").read_text(encoding="utf-8")
    for picture in ("ndcg@10.png", "accuracy.png", "differences-library.png"):
        assert (out / picture).read_bytes().startswith(PNG)
    with (out / "queries.csv").open(encoding="utf-8", newline="") as file:
        values = [float(row["recall@1"]) for row in csv.DictReader(file) if row["ranking"] == "one"]
    mean = found["rankings"]["one"]["measures"]["recall@1"]
    assert sum(values) / len(values) == pytest.approx(mean)

    again = tmp_path / "again.json"
    runs = ("--run", f"a={out / 'runs' / 'one'}", "--run", f"b={out / 'runs/two/library.trec'}")
    done = evaluate("retrieval", models, cache, "--collection", library, *runs, "--json", again)
    assert done.returncode == 0, done.stderr
    read = json.loads(again.read_text())["collections"]["library"]["rankings"]
    for new, old in (("a", "one"), ("b", "two")):
        assert read[new] == found["rankings"][old]


def test_collections_of_one_name_and_nanobeirs_layout(
    models: tuple[Path, Path, Path], cache: Path, library: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other" / "library"
    rows(other / "corpus" / "part-0.jsonl", CORPUS[:9])
    rows(other / "queries" / "part-0.jsonl", QUERIES)
    judged = [{"query-id": f"q{i}", "corpus-id": d} for i, d in enumerate(QUESTIONS.values())]
    rows(other / "qrels" / "part-0.jsonl", judged[:5])
    out = tmp_path / "figures.json"
    both = ("--collection", library, "--collection", other, "--no-chunk", "--json", out)
    done = evaluate("retrieval", models, cache, *both)
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())
    first, second = report["collections"].values()
    assert (first["queries"], second["queries"]) == (len(QUESTIONS), 5)
    assert first["data_sha256"] != second["data_sha256"]
    assert "other-library" in report["collections"]
    for stage in ("retrieval", "reranked"):
        mean = (first[stage]["mrr@10"] + second[stage]["mrr@10"]) / 2
        assert report["mean"]["rankings"][stage]["mrr@10"] == pytest.approx(mean)


def test_rerank_is_pure_and_fused_and_goes_on_from_its_logits(
    models: tuple[Path, Path, Path], library: Path, tmp_path: Path
) -> None:
    out, cache = tmp_path / "figures.json", tmp_path / "cache"
    arguments = ("--collection", library, "--depth", 6, "--weight", 0.3, "--json", out)
    first = evaluate("rerank", models, cache, *arguments)
    assert first.returncode == 0, first.stderr
    found = json.loads(out.read_text())["collections"]["library"]
    assert list(found["rankings"]) == ["retrieval", "pure", "fused 0.3"]
    assert (found["depth"], found["pairs"]) == (6, 6 * len(QUESTIONS))
    assert found["not_reranked"] == 0
    recalls = {n: r["measures"]["recall@100"] for n, r in found["rankings"].items()}
    assert set(recalls.values()) == {1.0}
    again = evaluate("rerank", models, cache, *arguments)
    assert again.returncode == 0, again.stderr
    repeated = json.loads(out.read_text())["collections"]["library"]
    assert (found["pairs_reused"], repeated["pairs_reused"]) == (0, 6 * len(QUESTIONS))
    assert repeated["rankings"] == found["rankings"]


def test_pairs_are_measured_also_at_thresholds_learned_elsewhere(
    models: tuple[Path, Path, Path], cache: Path, tmp_path: Path
) -> None:
    asked = list(QUESTIONS)
    same = [{"sentence1": q, "sentence2": q + "?", "label": 1} for q in asked]
    other = [{"sentence1": a, "sentence2": b, "label": 0} for a, b in zip(asked, asked[::-1])]  # noqa: B905
    pairs = rows(
        tmp_path / "pairs.jsonl", same + [o for o in other if o["sentence1"] != o["sentence2"]]
    )
    out = tmp_path / "out"
    systems = ("--system", "one=", "--system", f"two=encoder={models[1]}")
    done = evaluate(
        "pairs", models, cache, "--pairs", pairs, "--learned-on", pairs, *systems, "--out", out
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((out / "report.json").read_text())
    one = report["systems"]["one"]
    assert one["figures"]["cosine_ap"] > 0.9
    assert one["figures"]["max_accuracy"] >= one["figures"]["cosine_accuracy"]
    learned = one["at_learned_threshold"]["cosine"]["accuracy"]
    assert learned["accuracy"] == one["figures"]["cosine_accuracy"]
    assert "| one | 17 | cosine |" in done.stdout
    assert (out / "scores-2.png").read_bytes().startswith(PNG)


def test_a_cross_encoder_is_measured_on_flattened_rows(
    models: tuple[Path, Path, Path], cache: Path, tmp_path: Path
) -> None:
    texts = {d.id: d.text for d in DOCUMENTS}
    values = [
        {"query": q, "pos": [texts[d]], "neg": [t for i, t in texts.items() if i != d][:4]}
        for q, d in QUESTIONS.items()
    ]
    path, out = rows(tmp_path / "rows.jsonl", values), tmp_path / "figures.json"
    arguments = ("--pairs", path, "--pos-weight", 5, "--json", out)
    done = evaluate("crossencoder", models, cache, *arguments)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(out.read_text())["systems"].values()
    figures = found["figures"]
    assert (figures["pairs"], figures["positive_share"]) == (45, 0.2)
    assert figures["loss"] > 0.0
    assert 0.0 <= figures["f1"] <= 1.0
    assert found["pos_weight"] == 5.0


@pytest.mark.parametrize(
    ("kind", "arguments", "said"),
    [
        ("retrieval", ["--system", "a=port=1"], "port: is none of"),
        ("retrieval", ["--system", "a=", "--system", "a="], "two systems or runs named a"),
        ("retrieval", ["--run", "a=/nowhere"], "/nowhere"),
        ("rerank", ["--reranker", "none"], "nothing to rerank with"),
    ],
)
def test_wrong_arguments_are_told_before_any_work(
    models: tuple[Path, Path, Path],
    cache: Path,
    library: Path,
    kind: str,
    arguments: list[str],
    said: str,
) -> None:
    done = evaluate(kind, models, cache, "--collection", library, *arguments)
    assert done.returncode == 2
    assert said in done.stderr


def test_pairs_of_one_label_alone_are_refused(
    models: tuple[Path, Path, Path], cache: Path, tmp_path: Path
) -> None:
    path = rows(tmp_path / "pairs.jsonl", [{"sentence1": "a", "sentence2": "b", "label": 1}])
    done = evaluate("pairs", models, cache, "--pairs", path)
    assert done.returncode == 2
    assert "pairs.jsonl: needs pairs with label 1 and pairs with label 0" in done.stderr


def test_a_model_that_cannot_be_loaded_costs_no_other_models_figures(
    models: tuple[Path, Path, Path], cache: Path, tmp_path: Path
) -> None:
    pairs = rows(
        tmp_path / "pairs.jsonl",
        [
            {"sentence1": "a", "sentence2": text, "label": label}
            for text, label in (("a", 1), ("b", 0))
        ],
    )
    out = tmp_path / "figures.json"
    systems = ("--system", "one=", "--system", "gone=encoder=/nowhere")
    done = evaluate("pairs", models, cache, "--pairs", pairs, *systems, "--json", out)
    assert done.returncode == 1
    assert "1 of 2 were not measured: gone: " in done.stderr
    report = json.loads(out.read_text())
    assert (list(report["systems"]), list(report["failed"])) == (["one"], ["gone"])


def with_empty_texts(folder: Path) -> Path:
    """The library, and two right answers without text, as in Cranfield and TREC-COVID."""
    beir(folder)
    with (folder / "corpus.jsonl").open("a", encoding="utf-8") as corpus:
        corpus.write('{"_id": "471", "title": "", "text": ""}\n')
        corpus.write('{"_id": "995", "title": "Simple shear flow", "text": " "}\n')
    with (folder / "queries.jsonl").open("a", encoding="utf-8") as queries:
        queries.write('{"_id": "lost", "text": "flow past a flat plate"}\n')
        queries.write('{"_id": "title", "text": "simple shear flow"}\n')
    with (folder / "qrels.tsv").open("a", encoding="utf-8") as qrels:
        qrels.write("lost\t471\t1\ntitle\t995\t1\n")
    return folder


@pytest.mark.parametrize("kind", ["retrieval", "rerank"])
def test_an_empty_text_is_a_warning_and_cannot_be_found(
    models: tuple[Path, Path, Path], cache: Path, tmp_path: Path, kind: str
) -> None:
    folder, out = with_empty_texts(tmp_path / "cranfield"), tmp_path / "out"
    done = evaluate(kind, models, cache, "--collection", folder, "--out", out)
    assert done.returncode == 0, done.stderr
    report = json.loads((out / "report.json").read_text())["collections"]["cranfield"]
    assert report["queries"] == len(QUESTIONS) + 2
    (warning,) = report["warnings"]
    assert warning.endswith("2 documents without text, which cannot be found: '471', '995'")
    assert warning in done.stderr
    with (out / "queries.csv").open(encoding="utf-8", newline="") as file:
        recall = {row["query"]: float(row["recall@100"]) for row in csv.DictReader(file)}
    assert recall["lost"] == recall["title"] == 0.0


def test_every_collection_is_read_before_the_first_is_measured(
    models: tuple[Path, Path, Path], library: Path, tmp_path: Path
) -> None:
    broken = beir(tmp_path / "broken")
    with (broken / "qrels.tsv").open("a", encoding="utf-8") as qrels:
        qrels.write("q0\tgone\t1\n")
    cache = tmp_path / "cache"
    both = ("--collection", library, "--collection", broken)
    settings = ("--cache-dir", cache, "--encoder", models[0], "--reranker", models[2])
    for command in (("evaluate", "retrieval"), ("evaluate", "rerank"), ("tune-depth",)):
        done = secondpass(*command, *settings, "--hub-offline", *both)
        assert done.returncode == 2
        assert "no document has the id 'gone'" in done.stderr
    assert not (cache / "evaluation").exists()


def test_what_was_measured_is_reported_where_a_later_collection_fails(
    models: tuple[Path, Path, Path], cache: Path, library: Path, tmp_path: Path
) -> None:
    other, out = beir(tmp_path / "other", documents=9), tmp_path / "out"
    hashed = data_sha256(other)[:12]
    both = ("--collection", library, "--collection", other, "--out", out)
    assert evaluate("retrieval", models, cache, *both).returncode == 0
    (folder,) = (cache / "evaluation").glob(f"other-*-{hashed}-*")
    (folder / "store.db").write_bytes(b"no database" * 1000)
    done = evaluate("retrieval", models, cache, *both)
    assert done.returncode == 1
    assert "1 of 2 were not measured: other: " in done.stderr
    assert f"| library | {len(QUESTIONS)} |" in done.stdout
    report = json.loads((out / "report.json").read_text())
    assert list(report["collections"]) == ["library"]
    assert list(report["failed"]) == ["other"]
    assert "## Not measured\n\n- other: " in (out / "report.md").read_text(encoding="utf-8")
