"""SIGKILL while documents are written and indexes are built: nothing acknowledged is lost.

Run as a program, this file is the process that gets killed. Each document's vectors and text follow
from its id, so that what is found afterwards can be told from what should be there.
"""

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from service.index.generation import open_or_build
from service.index.live_index import LiveIndex
from service.store.data_folder import DataFolder
from service.types import Document, EncodedDocument, IndexIdentity, Span
from tests.fixtures.stores import now

IDENTITY = IndexIdentity("random", "0" * 64, 32, "query: ", "passage: ", 256, 1)
ROOT = Path(__file__).parents[2]
DOCUMENTS_PER_BATCH = 50
PASSAGES = 3
HNSW_THRESHOLD = 1000


def document(batch: int, i: int) -> EncodedDocument:
    seed = batch * DOCUMENTS_PER_BATCH + i
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((PASSAGES, IDENTITY.dimension), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    text = f"{seed:04}" * PASSAGES
    spans = [Span(4 * n, 4 * n + 4) for n in range(PASSAGES)]
    return EncodedDocument(
        Document(f"{batch}-{i}", text, metadata={"batch": batch}), spans, vectors
    )


def batch_of(batch: int) -> list[EncodedDocument]:
    return [document(batch, i) for i in range(DOCUMENTS_PER_BATCH)]


def write_until_killed() -> None:
    """The child process: `DATA_DIR FIRST_BATCH`; says each batch that is safe."""
    batch = int(sys.argv[2])
    with DataFolder.open(Path(sys.argv[1])) as data:
        data.store.set_identity(IDENTITY)
        while True:
            data.store.put(batch_of(batch))
            sys.stdout.write(f"{batch}\n")
            sys.stdout.flush()
            open_or_build(
                data.store,
                data.generations,
                IDENTITY,
                hnsw_threshold=HNSW_THRESHOLD,
                complete=True,
            )
            batch += 1


def run_and_kill(data_dir: Path, first_batch: int, wait_s: float) -> int:
    """Returns the last batch that was acknowledged; the first one always is."""
    program = [sys.executable, "-m", "tests.faults.test_kill_index"]
    command = [*program, str(data_dir), str(first_batch)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline()]
        time.sleep(wait_s)
        writer.kill()
        lines += writer.stdout.readlines()
    assert writer.returncode == -9
    return int([line for line in lines if line.endswith("\n")][-1])


def check(data_dir: Path, acknowledged: int) -> int:
    """Everything acknowledged is there, nothing by halves; returns how many batches are there."""
    with DataFolder.open(data_dir) as data:
        documents, passages = now(data.store).counts
        batches = documents // DOCUMENTS_PER_BATCH
        # One more batch may have been written but not yet acknowledged.
        assert batches in (acknowledged + 1, acknowledged + 2)
        assert (documents, passages) == (
            batches * DOCUMENTS_PER_BATCH,
            batches * DOCUMENTS_PER_BATCH * PASSAGES,
        )
        with data.store.view() as view:
            stored = np.concatenate([vectors for _, vectors in view.vectors(1000)])
        wanted = [row for batch in range(batches) for row in batch_of(batch)]
        assert np.array_equal(stored, np.concatenate([row.vectors for row in wanted]))
        hashes = {row.document.id: row.document.content_hash for row in wanted}
        assert now(data.store).content_hashes(hashes) == hashes

        generation = open_or_build(
            data.store, data.generations, IDENTITY, hnsw_threshold=HNSW_THRESHOLD
        )
        # A kill may leave an old index behind, never a damaged one.
        assert "damaged" not in str(generation.rebuilt_because)
        assert "cannot be read" not in str(generation.rebuilt_because)
        assert "SHA-256" not in str(generation.rebuilt_because)
        with data.store.view() as view:
            index = LiveIndex(generation, view).latest
        assert (index.documents, len(index)) == (documents, passages)
        for row in wanted[:: len(wanted) // 10]:
            (found,) = index.search(row.vectors[:1], 1)[0]
            passage = now(data.store).passages([found.passage_id])[found.passage_id]
            assert passage.document_id == row.document.id
            assert passage.text == row.document.text[:4]
        assert [path.name for path in data.generations.iterdir()] == [generation.name]
    return batches


def test_ten_kills_lose_no_acknowledged_document_and_leave_no_half_index(tmp_path: Path) -> None:
    moments = random.Random(20)
    batches = 0
    for _ in range(10):
        acknowledged = run_and_kill(tmp_path, batches, moments.uniform(0, 0.25))
        batches = check(tmp_path, acknowledged)


if __name__ == "__main__":
    write_until_killed()
