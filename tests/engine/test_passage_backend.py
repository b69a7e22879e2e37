"""Which backend encoded the passages: kept beside them, and said where it differs."""

from pathlib import Path

from service.engine.engine import open_engine
from service.engine.ingestion import ingesting, reindex
from service.engine.passage_backend import note_backend, other_backend
from service.settings import Settings
from service.store.data_folder import DataFolder
from service.types import Document
from service.write.ingestor import Ingestor
from tests.fixtures.doubles import HashEncoder
from tests.fixtures.multilingual import SENTENCES

DOCUMENTS = [Document(name, texts[0]) for name, texts in SENTENCES.items()]


def notes(settings: Settings) -> list[str]:
    with open_engine(settings, pairs=False, jobs=False) as engine:
        assert engine.checks()["index"] == "ok"
        return [note for note in engine.notes if "passages were encoded by" in note]


def test_another_backend_is_said_and_reindex_encodes_with_it(tmp_path: Path) -> None:
    common = {"data_dir": tmp_path, "encoder_query_backend": "torch", "reranker": "none"}
    before = Settings(encoder_passage_backend="torch", **common)
    with DataFolder.open(tmp_path) as data, ingesting(data, before) as ingestor:
        ingestor.ingest(DOCUMENTS, lambda _report: None)
    assert notes(before) == []
    after = Settings(encoder_passage_backend="torch-bf16", **common)
    (note,) = notes(after)
    assert "by torch, new ones are by torch-bf16" in note
    with DataFolder.open(tmp_path) as data:
        assert reindex(data, before) == 0
        assert reindex(data, after) == len(DOCUMENTS)
    assert notes(after) == []
    with open_engine(after, pairs=False, jobs=False) as engine:
        assert engine.passages == len(DOCUMENTS)


class Named(HashEncoder):
    """An encoder that says what runs it."""

    def __init__(self, backend: str) -> None:
        self.backends = {"passages": backend}


def test_nothing_is_said_of_passages_that_came_from_elsewhere(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path) as data:
        data.store.set_identity(HashEncoder.identity)
        Ingestor(data.store, HashEncoder(), overlap=0).ingest(DOCUMENTS)
        note_backend(data.store, Named("torch"))
        assert other_backend(data.store, Named("torch-bf16")) is None
