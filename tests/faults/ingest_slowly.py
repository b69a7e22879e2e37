"""Child of `test_kill_ingest`: ingests, and says after each batch how much is durable."""

import sys
from pathlib import Path

from service.datasets import read_documents
from service.index.generation import open_or_build
from service.store.data_folder import DataFolder
from service.write.ingestor import Ingestor
from tests.fixtures.doubles import HashEncoder


def main(source: str, folder: str) -> None:
    encoder = HashEncoder()
    print("begun", flush=True)
    with DataFolder.open(Path(folder)) as opened:
        opened.store.set_identity(encoder.identity)
        Ingestor(opened.store, encoder, overlap=0).ingest(
            read_documents(Path(source)),
            lambda report: print(report.added + report.unchanged, flush=True),
        )
        open_or_build(
            opened.store, opened.generations, encoder.identity, hnsw_threshold=500, complete=True
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
