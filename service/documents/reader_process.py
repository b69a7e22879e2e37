"""Files that a library reads, in a process of its own, with limits of time and memory.

A file that breaks, hangs or swells its reader costs that file only: the process is ended, and the
next file gets a new one.
"""

import importlib
import json
import os
import resource
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from service.documents.file_text import FileText
from service.documents.outline import marks_from
from service.errors import InvalidInputError
from service.extras import install_command

MOST_SECONDS = 120.0
"""For one file."""
MOST_BYTES = 2 << 30
"""Of the process's address space."""
MOST_ANSWERED = 256 << 20
"""Bytes of its answer, where a letter takes one, outside of ASCII six or twelve."""

COMMAND = ("-m", "service.documents.reader_process")
"""What Python runs in the process."""


class LibraryReader(NamedTuple):
    """A function that reads a file in a process of its own: its module and name."""

    module: str
    function: str


LIBRARY_READERS = {
    ".pdf": LibraryReader("service.documents.pdf", "read_pdf"),
    **dict.fromkeys(
        (".docx", ".pptx", ".xlsx", ".epub"),
        LibraryReader("service.documents.office", "read_office"),
    ),
}


class ReaderProcess:
    """Reads one file after another. Close it at the end, or use it as a context manager."""

    def __init__(
        self,
        seconds: float = MOST_SECONDS,
        memory: int = MOST_BYTES,
        answered: int = MOST_ANSWERED,
    ) -> None:
        self._seconds, self._memory, self._answered = seconds, memory, answered
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "ReaderProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, path: Path) -> FileText:
        """Raises `InvalidInputError` for a file that cannot be read within the limits."""
        process = self._process or self._start()
        asked = {"path": str(path.absolute()), "suffix": path.suffix.lower()}
        try:
            sent, came = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
            sent.write(json.dumps(asked).encode() + b"\n")
            sent.flush()
            answer = self._line(came)
        except BrokenPipeError:
            answer = b""
        if answer is None:
            self.close()
            raise InvalidInputError(f"its reader took more than {self._seconds:.0f} seconds")
        if not answer:
            self.close()
            raise InvalidInputError("its reader ended: the file is broken or needs too much memory")
        found = json.loads(answer)
        if "error" in found:
            raise InvalidInputError(found["error"])
        title, text, outline, metadata = found["read"]
        return FileText(title, text, marks_from(outline), metadata)

    def close(self) -> None:
        """End the process."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, *COMMAND, str(self._memory)]
        self._process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        return self._process

    def _line(self, pipe: IO[bytes]) -> bytes | None:
        """The process's next line; None where it is late, empty where the process has ended.

        Raises `InvalidInputError` for a line that is too long.
        """
        until = time.monotonic() + self._seconds
        pieces: list[bytes] = []
        size = 0
        while not (pieces and pieces[-1].endswith(b"\n")):
            left = until - time.monotonic()
            if left <= 0 or not select.select([pipe], [], [], left)[0]:
                return None
            pieces.append(os.read(pipe.fileno(), 1 << 20))
            if not pieces[-1]:
                return b""
            size += len(pieces[-1])
            if size > self._answered:
                self.close()
                raise InvalidInputError("it holds more text than a file may have")
        return b"".join(pieces)


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer each line with a file's path by a line with what the file holds."""
    for request in requests:
        asked = json.loads(request)
        answer = json.dumps(_answer(Path(asked["path"]), asked["suffix"]))
        answers.write(answer.encode() + b"\n")
        answers.flush()


def _answer(path: Path, suffix: str) -> dict[str, Any]:
    kind = LIBRARY_READERS[suffix]
    try:
        read: Callable[[Path], FileText] = getattr(
            importlib.import_module(kind.module), kind.function
        )
    except ModuleNotFoundError:
        return {"error": f"needs the extra files: {install_command('files')}"}
    try:
        return {"read": read(path)}
    except InvalidInputError as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": "its reader needs too much memory"}
    except Exception as error:  # whatever a library raises costs this file only
        return {"error": f"it cannot be read as {suffix[1:].upper()}: {type(error).__name__}"}


def main() -> None:
    """Serve on standard input and output, within as many bytes of memory as the argument says."""
    limit = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer, also one in C
    serve(sys.stdin.buffer, out)


if __name__ == "__main__":
    main()
