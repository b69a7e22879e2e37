"""What one client's write waits for beside another's."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from service.scheduling.gate import Deadline
from service.scheduling.shares import on_behalf_of
from service.store import document_store as module
from service.store.data_folder import DataFolder
from service.store.document_rows import DocumentRow
from service.types import Document, Written
from service.write.document_writes import Documents
from service.write.indexer import Indexer
from service.write.ingestor import Ingestor
from tests.fixtures.doubles import HashEncoder
from tests.fixtures.live import index_of

WAIT_S = 20.0


@pytest.fixture
def documents(tmp_path: Path) -> Iterator[Documents]:
    """Documents whose indexer sleeps."""
    encoder = HashEncoder()
    with DataFolder.open(tmp_path / "data") as folder:
        ingestor = Ingestor(folder.store, encoder, overlap=0)
        indexer = Indexer(
            folder.main, index_of(folder), ingestor, encoder.identity, hnsw_threshold=1000
        )
        documents = Documents(folder.store, indexer)
        yield documents
        documents.close()


def test_a_write_goes_before_a_large_one_that_is_being_prepared(
    documents: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, finish = threading.Event(), threading.Event()
    prepare: Callable[[Document], DocumentRow] = DocumentRow.of

    class Slow(DocumentRow):
        @classmethod
        def of(cls, document: Document) -> DocumentRow:  # type: ignore[override]
            if document.id.startswith("large"):
                begun.set()
                assert finish.wait(WAIT_S)
            return prepare(document)

    monkeypatch.setattr(module, "DocumentRow", Slow)

    async def put(client: str, some: Sequence[Document]) -> list[Written]:
        with on_behalf_of(client):
            return await documents.put(some, Deadline(WAIT_S))

    async def both() -> tuple[list[Written], list[Written]]:
        many = [Document(f"large {n}", "one two") for n in range(2)]
        large = asyncio.create_task(put("greedy", many))
        try:
            assert await asyncio.to_thread(begun.wait, WAIT_S)
            small = await asyncio.wait_for(put("modest", [Document("small", "one")]), WAIT_S / 2)
        finally:
            finish.set()
        return small, await large

    small, large = asyncio.run(both())
    assert [one.id for one in small] == ["small"]
    assert [one.id for one in large] == ["large 0", "large 1"]
    assert small[0].version < large[0].version
