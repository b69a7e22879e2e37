"""The demo corpus of the interpreter that runs the tests."""

import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from service import demo
from service.demo import MIN_BUILTIN_WORDS, MIN_WORDS, add_demo, demo_documents
from service.engine.engine import Engine, open_engine
from service.settings import Settings
from service.types import Document, Metadata
from tests.fixtures.bulk import wait_for


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    return list(demo_documents())


def test_there_are_enough_documents_and_not_too_many(documents: list[Document]) -> None:
    assert 1000 <= len(documents) <= 6000


def test_ids_are_unique_and_no_text_stands_there_twice(documents: list[Document]) -> None:
    assert len({d.id for d in documents}) == len(documents)
    assert len({d.text for d in documents}) == len(documents)


def test_every_text_says_something_and_is_titled(documents: list[Document]) -> None:
    for document in documents:
        is_builtin = document.metadata["kind"] == "builtin"
        words = len(document.text.split())
        assert words >= (MIN_BUILTIN_WORDS if is_builtin else MIN_WORDS), document.id
        assert document.title


def test_what_people_ask_for_is_there(documents: list[Document]) -> None:
    by_id = {d.id: d for d in documents}
    assert "except" in by_id["topic:try"].text
    assert by_id["topic:try"].metadata == {"kind": "topic"}
    assert "CSV" in by_id["doc:csv"].text
    assert "ascending order" in by_id["doc:sorted"].text
    assert "Inappropriate argument value" in by_id["doc:ValueError"].text
    assert "ValueError" in by_id["doc:list.index"].text
    assert by_id["doc:list.index"].metadata == {"kind": "builtin", "module": "builtins"}
    loads = by_id["doc:json.loads"]
    assert "Deserialize" in loads.text
    assert loads.title == "json.loads"
    assert loads.metadata == {"kind": "docstring", "module": "json"}


def test_long_topics_are_cut_into_sections(documents: list[Document]) -> None:
    sections = [d for d in documents if d.id.startswith("topic:specialnames")]
    assert "topic:specialnames:metaclasses" in {d.id for d in sections}
    assert all(d.title.startswith("specialnames: ") for d in sections)


def test_nothing_private_and_no_tests_are_taken(documents: list[Document]) -> None:
    modules = {str(d.metadata["module"]) for d in documents if "module" in d.metadata}
    parts = {part for module in modules for part in module.split(".")}
    assert not {part for part in parts if part.startswith("_") or part in ("test", "tests")}
    assert {module.partition(".")[0] for module in modules} <= sys.stdlib_module_names


def test_no_module_is_imported_for_its_docstrings(documents: list[Document]) -> None:
    assert "doc:turtle" in {d.id for d in documents}
    assert not {"turtle", "antigravity"} & set(sys.modules)


def test_it_is_the_same_every_time(documents: list[Document]) -> None:
    code = "from service.demo import demo_documents as d; print(*(x.id for x in d()), sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
        env={"PYTHONHASHSEED": "7"},
    )
    assert done.stdout.splitlines() == [d.id for d in documents]


def test_a_name_defined_twice_and_a_file_that_is_no_python_do_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = ("word " * MIN_WORDS + end for end in ("getter", "setter"))
    (tmp_path / "wave.py").write_text(
        f"class A:\n    def b(self):\n        '{first}'\n    def b(self, c):\n        '{second}'\n"
    )
    (tmp_path / "cmd.py").write_text("def (\n")
    monkeypatch.setattr(sysconfig, "get_path", lambda _name: str(tmp_path))
    docstrings = [d for d in demo_documents() if d.metadata["kind"] == "docstring"]
    metadata: Metadata = {"kind": "docstring", "module": "wave"}
    assert docstrings == [Document("doc:wave.A.b", first, "wave.A.b", metadata)]


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """One that is open, for a demo corpus of two documents."""
    few = [Document(f"doc:{name}", f"{name} sorts a list", name) for name in ("ä", "b")]
    monkeypatch.setattr(demo, "demo_documents", lambda: iter(few))
    with open_engine(Settings(data_dir=tmp_path)) as engine:
        yield engine


def test_a_server_without_documents_encodes_the_corpus_in_a_job(engine: Engine) -> None:
    assert engine.jobs is not None
    add_demo(engine)
    (job,) = engine.jobs.newest(10)
    assert wait_for(engine.jobs, job.id).done == 2
    with engine.folder.store.view() as view:
        stored = view.document("doc:ä")
        assert stored is not None
        assert stored.document == Document("doc:ä", "ä sorts a list", "ä")
    add_demo(engine)
    assert engine.jobs.newest(10) == [engine.jobs.get(job.id)]
