"""Child of a kill test: indexes what waits in FOLDER, and says how much it encodes before it does.

python -m tests.faults.index_slowly FOLDER
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from service.store.data_folder import DataFolder
from service.types import Vectors
from service.write.ingestor import Ingestor
from tests.fixtures.doubles import HashEncoder


class Slow(HashEncoder):
    """Takes its time, so that a kill finds it at work."""

    def encode_passages(self, texts: Sequence[str], /) -> Vectors:
        sys.stdout.write(f"{len(texts)}\n")
        sys.stdout.flush()
        time.sleep(0.05)
        return super().encode_passages(texts)


if __name__ == "__main__":
    with DataFolder.open(Path(sys.argv[1])) as folder:
        ingestor = Ingestor(folder.store, Slow(), overlap=0)
        while ingestor.index_staged():
            pass
