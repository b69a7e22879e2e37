"""The archive of a snapshot: a tar (POSIX ustar) of which each byte is foreseen.

A member is a plain file whose header follows from its name and size alone. So a reader compares
instead of interpreting: links, devices, folders, paths, extended headers and damage of any header
are one difference from what has to stand there.
"""

import tarfile
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from service.errors import InvalidInputError

BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)


class Member(NamedTuple):
    """A file in an archive: where its content begins, and how many bytes it has."""

    name: str
    offset: int
    size: int


def header(name: str, size: int) -> bytes:
    """The header before the content: 512 bytes."""
    about = tarfile.TarInfo(name)
    about.size = size
    return about.tobuf(tarfile.USTAR_FORMAT)


def padding(size: int) -> bytes:
    return bytes(-size % BLOCK)


def members(file: BinaryIO, *, most: int, largest: int) -> Iterator[Member]:
    """The members of a file that is read from its beginning to its very end.

    The caller may have moved the file's position between two members. Raises
    `InvalidInputError` for anything but at most `most` members of at most `largest` bytes each.
    """
    end = file.seek(0, 2)
    position = 0
    for number in range(most + 1):
        file.seek(position)
        block = file.read(BLOCK)
        if block == END[:BLOCK]:
            if file.read(BLOCK + 1) != END[BLOCK:]:
                raise InvalidInputError("there is something after the end of the archive")
            return
        if number == most:
            break
        member = _member(block, position + BLOCK, largest)
        position = member.offset + member.size
        file.seek(position)
        filling = padding(member.size)
        position += len(filling)
        if position > end or file.read(len(filling)) != filling:
            raise InvalidInputError(f"{member.name} is cut off or damaged")
        yield member
    raise InvalidInputError(f"the archive has more than {most} members")


def _member(block: bytes, offset: int, largest: int) -> Member:
    if len(block) < BLOCK:
        raise InvalidInputError("the archive is cut off, or it is none")
    try:
        about = tarfile.TarInfo.frombuf(block, "ascii", "strict")
        wanted = header(about.name, about.size)
    except (tarfile.HeaderError, ValueError) as error:  # ValueError: not ASCII, a size below zero
        raise InvalidInputError(f"byte {offset - BLOCK} begins no member of a snapshot") from error
    if block != wanted:
        raise InvalidInputError(
            f"{about.name[:100]!r} is not a plain file as a snapshot has them: it is damaged, or "
            "another program packed the archive"
        )
    if about.size > largest:
        raise InvalidInputError(f"{about.name} has {about.size} bytes; at most {largest} are taken")
    return Member(about.name, offset, about.size)
