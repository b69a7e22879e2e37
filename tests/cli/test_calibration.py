"""calibrate and tune-depth as a user runs them, on the real models and a few short documents."""

import json
from pathlib import Path

import pytest

from service.confidence.calibration import load_calibration
from tests.cli.test_commands import secondpass

TOPICS = {
    "errors": [
        "An except clause handles the exceptions that it names.",
        "The finally clause runs whether an exception was raised or not.",
        "A raise statement without an expression raises the exception again.",
        "Several exceptions are caught by naming them in a tuple.",
        "An exception that nothing handles ends the program with a traceback.",
        "Exceptions of one library share a base class, so that one handler does.",
    ],
    "tomatoes": [
        "Tomatoes are planted out when the nights are warm.",
        "A tomato plant is tied to a stake as it grows.",
        "Side shoots of tomatoes are pinched out every week.",
        "Uneven watering makes tomatoes crack.",
        "Green tomatoes ripen indoors beside an apple.",
        "Blight turns the leaves of tomatoes brown within days.",
    ],
    "tides": [
        "High tide comes twice a day on most coasts.",
        "The moon's gravity raises the tides.",
        "Spring tides come with the new and the full moon.",
        "At neap tide the sea rises least.",
        "Tide tables tell when the sea is high in a harbour.",
        "In a funnel-shaped bay the tide rises many metres.",
    ],
}
QUESTIONS = {
    "errors": ["how are exceptions handled", "what is an exception", "exception handlers"],
    "tomatoes": ["how are tomatoes grown", "tomato plants", "care of tomatoes"],
    "tides": ["how do the tides work", "when is it high tide", "tides of the sea"],
}
ASKED_ACROSS = {
    "errors": [
        "ngoại lệ trong chương trình được xử lý thế nào",
        "как обрабатываются исключения",
        "câu lệnh finally chạy khi nào",
        "что делает оператор raise",
        "làm sao bắt nhiều ngoại lệ cùng lúc",
    ],
    "tomatoes": [
        "cà chua được trồng khi nào",
        "как ухаживать за помидорами",
        "vì sao quả cà chua bị nứt",
        "почему листья помидоров чернеют",
        "chăm sóc cây cà chua ra sao",
    ],
    "tides": [
        "thủy triều hoạt động thế nào",
        "почему бывают приливы и отливы",
        "khi nào nước biển dâng cao",
        "что такое сизигийный прилив",
        "mặt trăng gây ra thủy triều ra sao",
    ],
}
PNG = b"\x89PNG"
PASSAGES = sum(map(len, TOPICS.values()))


def labelled(folder: Path, questions: dict[str, list[str]]) -> Path:
    """Questions, each with the six documents of its topic as relevant ones."""
    folder.mkdir()
    corpus = [
        {"_id": f"{topic}{i}", "title": "", "text": text}
        for topic, texts in TOPICS.items()
        for i, text in enumerate(texts)
    ]
    queries = [
        {"_id": f"{topic}-q{i}", "text": text}
        for topic, texts in questions.items()
        for i, text in enumerate(texts)
    ]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    judgements = [
        f"{query['_id']}\t{row['_id']}\t1"
        for query in queries
        for row in corpus
        if row["_id"].startswith(query["_id"].split("-")[0])
    ]
    text = "\n".join(["query-id\tcorpus-id\tscore", *judgements]) + "\n"
    (folder / "qrels.tsv").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine questions in the documents' language."""
    return labelled(tmp_path_factory.mktemp("labels") / "topics", QUESTIONS)


@pytest.fixture(scope="module")
def across(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifteen in other languages."""
    return labelled(tmp_path_factory.mktemp("labels") / "across", ASKED_ACROSS)


def test_a_reranker_alone_is_calibrated_with_words_and_a_picture_and_served(
    labels: Path, tmp_path: Path
) -> None:
    out, figures = tmp_path / "mine.json", tmp_path / "figures.json"
    arguments = ("--collection", labels, "--out", out, "--name", "mine", "--json", figures)
    done = secondpass("calibrate", *arguments, "--share", 1, "--high", 0.8, "--medium", 0.3)
    assert done.returncode == 0, done.stderr
    artifact = load_calibration(out)
    assert artifact.format == 4
    assert artifact.rerank_weights == {"*": 1.0}
    assert set(artifact.curves) == {"retrieval", "rerank"}
    assert set(artifact.reference) == {"logit", "confidence", "query_tokens"}
    assert (
        sum(artifact.reference["logit"].counts) == len(QUESTIONS) * 3
    )  # each once, and not without its answer
    high = artifact.thresholds["high"]
    assert (high.precision, artifact.thresholds["medium"].precision) == (0.8, 0.3)
    assert high.found is not None
    assert high.found >= 0.8
    assert f"high from {high.probability:.4f}: precision {high.found:.3f}" in done.stdout
    assert "too few labels: curve 'rerank' rests on " in done.stderr
    assert out.with_suffix(".png").read_bytes().startswith(PNG)
    report = json.loads(figures.read_text())
    assert report["confidence"]["all"]["words"]["high"]["n"] == high.n
    assert report["settings"]["rerank_depth"] == 100
    data = ("--data-dir", tmp_path / "data")
    secondpass("ingest", labels / "corpus.jsonl", *data)
    found = secondpass("search", "what is high tide", *data, "--calibration", out, "--json")
    answer = json.loads(found.stdout)
    assert (answer["models"]["calibration"], answer["models"]["order"]) == ("mine", "rerank_score")
    best = answer["hits"][0]
    word = "high" if best["probability"] >= high.probability else "medium"
    assert best["id"].startswith("tides")
    assert best["confidence"] == word


def test_labels_across_languages_calibrate_such_searches_and_change_no_other(
    labels: Path, across: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mine.json"
    arguments = ("--collection", labels, "--out", out, "--name", "mine", "--share", 1)
    done = secondpass("calibrate", *arguments, "--across", across, "--no-picture")
    assert done.returncode == 0, done.stderr
    assert "retrieval across languages: " in done.stdout
    artifact = load_calibration(out)
    assert artifact.rerank_weights == {"*": 1.0}  # too few queries for a share
    assert set(artifact.mixed_curves) == {"retrieval"}
    assert artifact.curves["rerank"].n == len(QUESTIONS) * 3 * (10 + 10)


def test_too_few_labels_say_how_many_are_needed_and_write_nothing(
    labels: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mine.json"
    arguments = ("--collection", labels, "--out", out, "--name", "mine", "--queries", 3)
    done = secondpass("calibrate", *arguments, "--reranker", "none")
    assert done.returncode == 2
    assert "relevant hits are too few to calibrate on; at least 50 are needed" in done.stderr
    assert "queries like these 3; what was scored is kept" in done.stderr
    assert not list(tmp_path.iterdir())


def test_depth_is_tuned_into_a_setting_with_table_figures_and_picture(
    labels: Path, tmp_path: Path
) -> None:
    out = tmp_path / "depth.json"
    arguments = ("--collection", labels, "--out", out, "--queries", 3, "--rerank-weight", 1)
    done = secondpass("tune-depth", *arguments)
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text())
    assert [row["depth"] for row in report["depths"]] == [0, 5, 10, 20, 30, 50, 75, 100]
    assert report["depths"][0]["ms"] < report["depths"][1]["ms"] < report["depths"][3]["ms"]
    assert report["depths"][-1]["pairs"] == PASSAGES
    assert f"SECONDPASS_RERANK_DEPTH={report['rerank_depth']}" in done.stdout
    assert "| depth | nDCG@10 |" in done.stdout
    assert out.with_suffix(".png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["calibrate", "--name", "a", "--high", "0.5", "--medium", "0.6"], "--medium must not be"),
        (["tune-depth", "--reranker", "none"], "no reranker"),
    ],
)
def test_what_contradicts_itself_is_refused_before_any_work(
    labels: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    done = secondpass(*arguments, "--collection", labels, "--out", tmp_path / "out.json")
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_text_beyond_the_usual_limit_is_read_where_the_settings_allow_it(tmp_path: Path) -> None:
    folder = labelled(tmp_path / "long", QUESTIONS)
    first, rest = (folder / "corpus.jsonl").read_text(encoding="utf-8").split("\n", 1)
    row = json.loads(first)
    row["text"] += " " * 1_000_000
    (folder / "corpus.jsonl").write_text(f"{json.dumps(row)}\n{rest}", encoding="utf-8")
    arguments = ("--collection", folder, "--out", tmp_path / "mine.json", "--name", "mine")
    one = ("calibrate", *arguments, "--reranker", "none", "--queries", 1)
    refused = secondpass(*one)
    assert "1000000 are the most" in refused.stderr
    done = secondpass(*one, SECONDPASS_MAX_DOCUMENT_CHARS="1100000")
    assert "relevant" in done.stderr  # of so few queries: all texts were read
    assert "are the most" not in done.stderr


def test_the_same_collection_twice_is_refused(labels: Path, tmp_path: Path) -> None:
    twice = ("--collection", labels, "--weights-only", labels)
    arguments = (*twice, "--name", "a", "--out", tmp_path / "a.json")
    done = secondpass("calibrate", *arguments)
    assert done.returncode == 2
    assert "topics: the collection is given twice" in done.stderr
