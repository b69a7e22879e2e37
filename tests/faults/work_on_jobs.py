"""Child of `test_kill_jobs`: works on the jobs of a folder until none is left or it is killed.

`FOLDER [UPLOAD KEY]`: receives the upload first, and says the job's id once it is durable.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from service.store.data_folder import DataFolder
from tests.fixtures.bulk import Finder, open_jobs, receive


def main(folder: str, upload: str, key: str) -> None:
    def pieces() -> Iterator[bytes]:
        with Path(upload).open("rb") as file:
            while piece := file.read(10_000):
                yield piece

    print("begun", flush=True)
    with DataFolder.open(Path(folder)) as opened:
        jobs = open_jobs(Path(folder), Finder(opened))
        job = receive(jobs, pieces(), key)
        print(job.id, flush=True)
        jobs.start()
        while not jobs.get(job.id).is_finished:
            time.sleep(0.005)
        jobs.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
