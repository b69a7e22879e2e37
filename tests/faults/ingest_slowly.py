"""Child of `test_kill_ingest`: ingests, and says after each batch how much is durable."""

import sys
from pathlib import Path

from service.collection import read_documents
from service.pipeline.build import open_ingestion
from service.settings import Settings


def main(source: str, folder: str) -> None:
    with open_ingestion(Settings(data_dir=Path(folder))) as ingestion:
        print("begun", flush=True)
        ingestion.ingestor.ingest(
            read_documents(Path(source)),
            lambda report: print(report.added + report.unchanged, flush=True),
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
