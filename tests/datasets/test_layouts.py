"""NanoBEIR's and TREC's layouts, and telling them apart."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from service.datasets import (
    Collection,
    count_rows,
    data_sha256,
    find_problems,
    open_collection,
    read_documents,
    write_beir,
)
from service.errors import InvalidInputError
from service.types import Document
from tests.fixtures.articles import articles

DOCS = """<DOC>
<DOCNO> FT-1 </DOCNO>
<HEADLINE>Bicycle chains</HEADLINE>
<TEXT>
Oil &amp; wipe <i>each</i> roller.
</TEXT>
</DOC>

<doc>
<docno>FT-2</docno>
Tides follow the moon.
</doc>
"""
TOPICS = """<top>
<num> Number: 301
<title> how to oil a chain

<desc> Description:
What a rider has to do.
</top>
<top>
<num>302</num>
<title>why are there tides</title>
</top>
"""
QRELS = "301 0 FT-1 2\n301 0 FT-2 0\n302 Q0 FT-2 1\n"


@pytest.fixture
def trec(tmp_path: Path) -> Path:
    folder = tmp_path / "press"
    folder.mkdir()
    (folder / "corpus.trec").write_text(DOCS)
    (folder / "topics.txt").write_text(TOPICS)
    (folder / "qrels.txt").write_text(QRELS)
    return folder


@pytest.fixture(params=["parquet", "jsonl"])
def nanobeir(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    whole = articles()
    rows = {
        "corpus": [{"_id": d.id, "text": f"{d.title} {d.text}"} for d in whole.documents],
        "queries": [{"_id": id_, "text": text} for id_, text in whole.queries.items()],
        "qrels": [{"query-id": q, "corpus-id": d} for q, of in whole.qrels.items() for d in of],
    }
    for name, table in rows.items():
        folder = tmp_path / "NanoArticles" / name
        folder.mkdir(parents=True)
        path = folder / f"train-00000-of-00001.{request.param}"
        if request.param == "parquet":
            parquet.write_table(pa.Table.from_pylist(table), path)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in table))
    return tmp_path / "NanoArticles"


def test_trec_files_are_read(trec: Path) -> None:
    assert open_collection(trec) == Collection(
        "press",
        [
            Document("FT-1", "Oil & wipe  each  roller.", "Bicycle chains"),
            Document("FT-2", "Tides follow the moon."),
        ],
        {"301": "how to oil a chain", "302": "why are there tides"},
        {"301": {"FT-1": 2, "FT-2": 0}, "302": {"FT-2": 1}},
    )


def test_tab_separated_tables_are_read(trec: Path) -> None:
    (trec / "corpus.trec").unlink()
    (trec / "topics.txt").unlink()
    (trec / "corpus.tsv").write_text("FT-1\tChains\tOil each roller.\nFT-2\tTides.\n")
    (trec / "queries.tsv").write_text("301\thow to oil a chain\n302\twhy are there tides\n")
    collection = open_collection(trec)
    assert collection.documents == [
        Document("FT-1", "Oil each roller.", "Chains"),
        Document("FT-2", "Tides."),
    ]
    assert collection.queries["302"] == "why are there tides"


def test_every_wrong_row_of_trec_files_is_named(trec: Path) -> None:
    (trec / "corpus.trec").write_text(DOCS + "<DOC>\n<TEXT>x</TEXT>\n</DOC>\n<DOC>\n<DOCNO>FT-4")
    (trec / "topics.txt").write_text("stray\n" + TOPICS + "<top>\n<num>303\n</top>\n")
    (trec / "qrels.txt").write_text(QRELS + "301 0 FT-9 1\n301 FT-1 1\n302 0 FT-2 x\n")
    found = [(Path(p.source).name, p.line, p.field) for p in find_problems(trec)]
    assert found == [
        ("corpus.trec", 13, "DOCNO"),
        ("corpus.trec", 16, "DOC"),
        ("topics.txt", 1, "TOP"),
        ("topics.txt", 13, "text"),
        ("qrels.txt", 4, "corpus-id"),
        ("qrels.txt", 5, None),
        ("qrels.txt", 6, "score"),
    ]
    with pytest.raises(InvalidInputError, match=r"corpus\.trec, line 13: DOCNO: is missing"):
        open_collection(trec)


def test_wrong_tables_are_named(trec: Path) -> None:
    (trec / "topics.txt").unlink()
    (trec / "queries.tsv").write_text("301\thow\tto\n")
    with pytest.raises(
        InvalidInputError, match=r"queries\.tsv, line 1: must have 2 tab-separated columns"
    ):
        open_collection(trec)


def test_nanobeir_is_read_and_a_judgement_without_score_says_1(nanobeir: Path) -> None:
    collection, whole = open_collection(nanobeir), articles()
    assert collection.name == "NanoArticles"
    assert [d.id for d in collection.documents] == [d.id for d in whole.documents]
    assert collection.documents[0].text.startswith("Đạo hàm Đạo hàm của hàm hợp")
    assert collection.queries == whole.queries
    assert collection.qrels == whole.qrels


def test_documents_of_other_layouts_can_be_ingested(nanobeir: Path, trec: Path) -> None:
    for folder in (nanobeir, trec):
        documents = open_collection(folder).documents
        assert list(read_documents(folder)) == documents
        assert count_rows(folder) == len(documents)


def test_a_wrong_row_of_nanobeir_is_named(nanobeir: Path) -> None:
    path = next((nanobeir / "queries").iterdir())
    wrong = [{"_id": "q1", "text": "a"}, {"_id": None, "text": "b"}, {"_id": "q3", "text": " "}]
    if path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(wrong), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in wrong))
    problems = find_problems(nanobeir)
    assert [(p.line, p.field) for p in problems[:2]] == [(2, "_id"), (3, "text")]
    assert {p.field for p in problems[2:]} == {"query-id", None}  # and no judgement is left


def test_a_damaged_parquet_file_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    for name in ("corpus", "queries", "qrels"):
        (tmp_path / name).mkdir()
    with pytest.raises(InvalidInputError, match=r"corpus: holds no file named \.parquet"):
        open_collection(tmp_path)
    for name in ("corpus", "queries", "qrels"):
        (tmp_path / name / "a.parquet").write_bytes(b"no table")
    with pytest.raises(InvalidInputError, match=r"a\.parquet: not a Parquet file"):
        open_collection(tmp_path)


def test_beir_written_is_beir_read(tmp_path: Path) -> None:
    whole = articles()
    whole.documents.append(Document("m", "x", metadata={"page": 3}))
    folder = tmp_path / "articles"
    write_beir(folder, whole)
    assert open_collection(folder) == whole
    with pytest.raises(InvalidInputError, match="is there already"):
        write_beir(folder, whole)
    assert [path.name for path in tmp_path.iterdir()] == ["articles"]


def test_every_wrong_row_of_a_beir_folder_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "articles"
    write_beir(folder, articles())
    with (folder / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "tide-1", "text": "again"}\n{"_id": "x"}\n{\n')
    with (folder / "qrels.tsv").open("a") as file:
        file.write("q-tide\ttide-1\t2\nq-none\ttide-1\t1\n")
    found = [(Path(p.source).name, p.line, p.field) for p in find_problems(folder)]
    assert found == [
        ("corpus.jsonl", 11, "_id"),
        ("corpus.jsonl", 12, "text"),
        ("corpus.jsonl", 13, None),
        ("qrels.tsv", 10, "score"),
        ("qrels.tsv", 11, "query-id"),
    ]


def test_a_folder_of_no_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="holds no labelled collection"):
        open_collection(tmp_path)
    with pytest.raises(InvalidInputError, match="there is no such folder"):
        open_collection(tmp_path / "none")


def test_the_hash_knows_every_layout_and_files(nanobeir: Path, trec: Path) -> None:
    hashes = {data_sha256(nanobeir), data_sha256(trec), data_sha256(trec / "qrels.txt")}
    assert len(hashes) == 3
    before = data_sha256(trec)
    (trec / "qrels.txt").write_text(QRELS + "302 0 FT-1 0\n")
    assert data_sha256(trec) != before


def test_documents_without_text_are_told_and_their_judgements_kept(tmp_path: Path) -> None:
    beir, trec, nano = (tmp_path / name for name in ("beir", "trec", "nano"))
    for folder in (beir, trec, *(nano / name for name in ("corpus", "queries", "qrels"))):
        folder.mkdir(parents=True)
    documents = [
        {"_id": "a", "text": "one"},
        {"_id": "b", "title": "two", "text": ""},
        {"_id": "c", "title": "", "text": " \n"},
    ]
    lines = "\n".join(json.dumps({"title": "", **document}) for document in documents)
    (beir / "corpus.jsonl").write_text(lines)
    (nano / "corpus" / "0.jsonl").write_text(lines.replace('" \\n"', "null"))
    (trec / "corpus.tsv").write_text(" a\t\tone\nb \ttwo\t\nc\t\t\n")
    for path in (beir / "queries.jsonl", nano / "queries" / "0.jsonl"):
        path.write_text('{"_id": "q", "text": "which"}\n{"_id": "r", "text": "what"}\n')
    (trec / "queries.tsv").write_text("q\twhich\nr\twhat\n")
    judged = [("q", "a"), ("q", "b"), ("r", "b"), ("r", "c")]
    (beir / "qrels.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"{q}\t{d}\t1\n" for q, d in judged)
    )
    (nano / "qrels" / "0.jsonl").write_text(
        "".join(json.dumps({"query-id": q, "corpus-id": d}) + "\n" for q, d in judged)
    )
    (trec / "qrels.txt").write_text("".join(f"{q} 0 {d} 1\n" for q, d in judged))
    for folder in (beir, nano, trec):
        found = open_collection(folder)
        assert found.documents == [Document("a", "one")]
        assert found.qrels == {"q": {"a": 1}}
        assert found.judged == {"q": {"a": 1, "b": 1}, "r": {"b": 1, "c": 1}}
        (warning,) = found.warnings
        assert warning.endswith("2 documents without text, which cannot be found: 'b', 'c'")
    warnings: list[str] = []
    assert find_problems(beir, on_warning=warnings.append) == []
    assert len(warnings) == 1
    write_beir(tmp_path / "again", open_collection(trec))
    assert open_collection(tmp_path / "again").judged == open_collection(trec).judged
