"""Documents on their way from a file into the store."""

from pathlib import Path

from service.index.data_folder import DataFolder
from service.pipeline.ingest import Ingestor
from service.types import Document
from tests.fixtures.doubles import HashEncoder


def test_of_several_with_one_id_the_last_counts_also_where_it_is_an_earlier_one_again(
    tmp_path: Path,
) -> None:
    first, second = Document("a", "The first text."), Document("a", "Another text.")
    with DataFolder.open(tmp_path / "data") as folder:
        folder.store.set_identity(HashEncoder.identity)
        report = Ingestor(folder.store, HashEncoder(), overlap=0).ingest([first, second, first])
        assert (report.added, report.updated, report.unchanged) == (1, 2, 0)
        with folder.store.view() as store:
            stored = store.document("a")
    assert stored is not None
    assert stored.document == first
