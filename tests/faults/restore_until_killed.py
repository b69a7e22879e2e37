"""Child of `test_kill_collections`: restores, switches, drops and reads, and says what is done."""

import sys
from pathlib import Path

from service.engine.making import fill
from service.index.generation import open_or_build
from service.store.data_folder import DataFolder
from service.store.snapshot import write
from service.store.snapshot_reader import Snapshot
from service.types import DocumentLimits


def restore(folder: DataFolder, archive: str, name: str) -> None:
    with Path(archive).open("rb") as file, folder.making(name) as made:
        snapshot = Snapshot.verified(file)
        identity = snapshot.manifest.encoder
        assert identity
        fill(made.store, snapshot, identity, DocumentLimits())
        open_or_build(made.store, made.generations, identity, hnsw_threshold=1000)
        folder.catalog.add(name, {})


def main(data_dir: str, archive: str) -> None:
    with DataFolder.open(Path(data_dir)) as folder:
        names = set(folder.catalog.collections) - {"main"}
        number = max((int(name[1:]) for name in names), default=0)
        while True:
            number += 1
            restore(folder, archive, f"r{number}")
            print("restored", f"r{number}", flush=True)
            folder.catalog.set_alias("default", f"r{number}")
            print("switched", f"r{number}", flush=True)
            for name in set(folder.catalog.collections) - {"main", f"r{number}"}:
                folder.drop(name)
                print("dropped", name, flush=True)
            with folder.collection(f"r{number}").store.view() as view:
                for _ in write(view, {}):
                    pass


if __name__ == "__main__":
    main(*sys.argv[1:])
