"""No byte of an archive can change unnoticed, and nothing but an archive of ours is taken."""

import io
import itertools
import json
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from service.errors import InvalidInputError
from service.store.document_store import DocumentStore
from service.store.snapshot import FORMAT_VERSION, MANIFEST_FILE
from service.store.tar_format import BLOCK
from service.types import DocumentLimits
from tests.fixtures.library import DOCUMENTS
from tests.fixtures.snapshots import (
    IDENTITY,
    all_rows,
    archive_of,
    fill,
    packed,
    read_all,
    signed,
    signed_as,
    unpacked,
)


def _archive() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        store = DocumentStore(Path(folder) / "store.db")
        fill(store)
        content = archive_of(store)
        store.close()
    return content


ARCHIVE = _archive()


def test_every_byte_counts() -> None:
    """Each byte of all headers, ends and paddings is flipped, and every seventh of the rest."""
    content_at = set()
    for member, start in offsets(ARCHIVE):
        content_at.update(range(start, start + member.size))
    places = [place for place in range(len(ARCHIVE)) if place not in content_at or place % 7 == 0]
    for place in places:
        damaged = bytearray(ARCHIVE)
        damaged[place] ^= 1 << (place % 8)
        with pytest.raises(InvalidInputError):
            read_all(bytes(damaged))


def offsets(content: bytes) -> list[tuple[tarfile.TarInfo, int]]:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return [(member, member.offset_data) for member in tar]


def test_a_cut_at_any_block_and_anything_behind_the_end_is_refused() -> None:
    for end in itertools.chain(range(0, len(ARCHIVE), BLOCK), [len(ARCHIVE) - 1]):
        with pytest.raises(InvalidInputError):
            read_all(ARCHIVE[:end])
    for junk in (b"\0", b"x", bytes(BLOCK), ARCHIVE):
        with pytest.raises(InvalidInputError, match="after the end"):
            read_all(ARCHIVE + junk)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_mangled_archive_is_taken(data: st.DataObject) -> None:
    content = ARCHIVE
    start = data.draw(st.integers(0, len(content) - 1))
    end = data.draw(st.integers(start, min(len(content), start + 3000)))
    new = data.draw(st.binary(max_size=600) | st.just(content[start:end][::-1]))
    mangled = content[:start] + new + content[end:]
    if mangled == content:
        return
    with pytest.raises(InvalidInputError):
        read_all(mangled)


def with_type(content: bytes, kind: bytes, link: str = "") -> bytes:
    """The first member's header as another kind of member."""
    about = tarfile.TarInfo.frombuf(content[:BLOCK], "ascii", "strict")
    about.type, about.linkname = kind, link
    return about.tobuf(tarfile.USTAR_FORMAT) + content[BLOCK:]


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.DIRTYPE,
        tarfile.AREGTYPE,
        tarfile.XHDTYPE,
        tarfile.GNUTYPE_LONGNAME,
    ],
)
def test_links_devices_folders_and_extended_headers_are_refused(kind: bytes) -> None:
    with pytest.raises(InvalidInputError):
        read_all(with_type(ARCHIVE, kind, "/etc/passwd"))


@pytest.mark.parametrize(
    "name",
    [
        "../documents-00001.jsonl",
        "/etc/passwd",
        "a/../b",
        "index.faiss",
        "documents-00002.jsonl",
        "documents-1.jsonl",
        "vectors-00001.npz",
        "./documents-00001.jsonl",
        "documents-00001.JSONL",
    ],
)
def test_any_other_name_is_refused(name: str) -> None:
    members = unpacked(ARCHIVE)
    with pytest.raises(InvalidInputError):
        read_all(packed([(name, members[0][1]), *members[1:]]))
    with pytest.raises(InvalidInputError):
        read_all(signed([(name, members[0][1]), *members[1:]]))


def test_missing_doubled_and_reordered_members_are_refused() -> None:
    members = unpacked(ARCHIVE)
    for left_out in range(len(members)):
        with pytest.raises(InvalidInputError):
            read_all(packed(members[:left_out] + members[left_out + 1 :]))
    for twice in range(len(members)):
        with pytest.raises(InvalidInputError):
            read_all(packed([*members[: twice + 1], *members[twice:]]))
    for order in itertools.permutations(range(len(members))):
        shuffled = [members[i] for i in order]
        if order != (0, 1, 2, 3):
            with pytest.raises(InvalidInputError):
                read_all(packed(shuffled))


def test_a_part_that_says_it_is_huge_is_refused_before_it_is_read() -> None:
    for size in (300 << 20, 8 << 30, 2**62):
        about = tarfile.TarInfo("documents-00001.jsonl")
        about.size = size
        try:
            head = about.tobuf(tarfile.USTAR_FORMAT)
        except ValueError:
            head = about.tobuf(tarfile.GNU_FORMAT)
        with pytest.raises(InvalidInputError):
            read_all(head + ARCHIVE[BLOCK:])


def test_something_else_altogether_is_refused() -> None:
    zipped = b"PK\x03\x04" + bytes(2000)
    for content in (b"", b"x", bytes(512), bytes(1024), bytes(5000), zipped, b"{}" * 5000):
        with pytest.raises(InvalidInputError):
            read_all(content)


def lines_changed(**changed: object) -> bytes:
    """Signed anew after the first line got other values."""
    members = unpacked(ARCHIVE)
    lines = members[0][1].splitlines()
    first = json.loads(lines[0]) | changed
    lines[0] = json.dumps(first).encode()
    return signed([(members[0][0], b"\n".join(lines) + b"\n"), *members[1:]])


@pytest.mark.parametrize(
    "changed",
    [
        {"id": ""},
        {"id": 7},
        {"id": "line\nbreak"},
        {"id": "x" * 513},
        {"metadata": {"big": 10**30}},
        {"metadata": {f"f{i}": 1 for i in range(65)}},
        {"text": None},
        {"spans": [[0, 1]]},  # a vector too many
        {"spans": [[0, 1], [1, 2], [2, 3]]},
        {"spans": [[0, 1, 2], [1, 2, 3]]},
        {"staged": 1},
        {"staged": True},
        {"version": -1},
        {"version": 2**70},
        {"metadata": {"deep": [[["x"]]]}},
        {"metadata": {"of": [1, 2]}},
        {"metadata": []},
        {"text": "lone \ud800"},
        {"more": 1},
    ],
    ids=str,
)
def test_a_line_that_is_not_sound_is_refused_though_all_checksums_are_right(
    changed: dict[str, object],
) -> None:
    with pytest.raises(InvalidInputError):
        read_all(lines_changed(**changed))


@pytest.mark.parametrize(
    ("changed", "field"),
    [({"text": "x" * 1_000_001}, "text"), ({"title": "x" * 2001}, "title")],
    ids=["text", "title"],
)
def test_a_document_beyond_the_limits_of_any_other_door_is_refused(
    changed: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidInputError, match=f"{field}: has .* are the most that are taken"):
        read_all(lines_changed(**changed))


def test_no_more_of_a_line_is_read_than_a_document_can_have() -> None:
    """What is behind are megabytes of other fields, which would be parsed before they count."""
    limits = DocumentLimits(text=2000, title=200)
    assert len(read_all(ARCHIVE, limits)) == len(DOCUMENTS) + 1
    with pytest.raises(InvalidInputError, match=r"has more than 42..... bytes, the most"):
        read_all(lines_changed(metadata={"a": "x" * 4_500_000}), limits)


@pytest.mark.parametrize("wrong", [[], [0], [0, "1"], 7], ids=str)
def test_a_line_of_wrong_values_is_refused_at_the_first(wrong: object) -> None:
    """Of each a record would be made: 6 MB of them took 2.7 GB and 14 seconds."""
    with pytest.raises(InvalidInputError) as refused:
        read_all(lines_changed(spans=[wrong] * 1000))
    assert isinstance(refused.value.__cause__, ValidationError)
    assert refused.value.__cause__.error_count() == 1


def test_a_line_that_names_a_field_twice_is_refused() -> None:
    members = unpacked(ARCHIVE)
    lines = members[0][1].replace(b'"staged":', b'"staged":false,"staged":', 1)
    with pytest.raises(InvalidInputError, match="staged"):
        read_all(signed([(members[0][0], lines), *members[1:]]))


def test_a_manifest_that_names_a_field_twice_is_refused() -> None:
    members = unpacked(ARCHIVE)
    text = dict(members)[MANIFEST_FILE].replace(b'"revision":', b'"revision": 1, "revision":', 1)
    parts = [member for member in members if not member[0].startswith("manifest")]
    with pytest.raises(InvalidInputError, match='the key "revision" appears twice'):
        read_all(signed_as(parts, text))


def test_a_manifest_of_more_values_than_its_parts_need_is_refused() -> None:
    members = unpacked(ARCHIVE)
    for odd in ({"a": [[]] * 2000}, {"a": "x" * 100_000}):
        with pytest.raises(InvalidInputError, match=r"more values than|at most 66048 are taken"):
            read_all(signed(members, settings=odd))
    with pytest.raises(InvalidInputError) as refused:
        read_all(signed(members, parts=[{}] * 40))
    assert isinstance(refused.value.__cause__, ValidationError)
    assert refused.value.__cause__.error_count() == 3, "the fields of the first part"


@pytest.mark.parametrize(
    "changed",
    [
        {"spans": [[0, 1], [5, 10_000]]},
        {"spans": [[3, 1], [0, 2]]},
        {"spans": [[-3, 1], [0, 2]]},
        {"id": "py-with"},  # there twice then
    ],
    ids=str,
)
def test_what_the_store_cannot_hold_is_refused_by_it_and_changes_nothing(
    changed: dict[str, object], tmp_path: Path
) -> None:
    store = DocumentStore(tmp_path / "store.db")
    store.set_identity(IDENTITY)
    rows = read_all(lines_changed(**changed))
    with pytest.raises(InvalidInputError):
        store.restore(rows, 99)
    assert all_rows(store) == []
    store.close()


def test_vectors_that_are_no_unit_vectors_or_of_another_shape_are_refused() -> None:
    members = unpacked(ARCHIVE)
    good = np.load(io.BytesIO(members[1][1]))
    wrong = [
        good * 3,
        good * 0,
        np.where(np.arange(8) == 1, np.nan, good),
        np.where(np.arange(8) == 1, np.inf, good),
        good[:-1],
        np.concatenate([good, good[:1]]),
        good[:, :4],
        good.T,
        good.astype(np.float64),
        good.astype(">f4"),
        np.asfortranarray(good),
        np.array([{"a": object}], dtype=object),
    ]
    for vectors in wrong:
        file = io.BytesIO()
        np.save(file, vectors, allow_pickle=True)
        with pytest.raises(InvalidInputError):
            read_all(signed([members[0], (members[1][0], file.getvalue()), *members[2:]]))
    assert len(read_all(signed(members))) == len(DOCUMENTS) + 1


@pytest.mark.parametrize(
    "changed",
    [
        {"format_version": FORMAT_VERSION + 1},
        {"documents": 1},
        {"staged": 0},
        {"passages": 1},
        {"parts": []},
        {"encoder": None},
        {"encoder": {"model": "x"}},
        {"more": 1},
        {"revision": "1"},
    ],
    ids=str,
)
def test_a_manifest_that_does_not_fit_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        read_all(signed(unpacked(ARCHIVE), **changed))


@pytest.mark.parametrize("dimension", [0, -8, 4, 16, 2**40])
def test_another_dimension_than_the_vectors_have_is_refused(dimension: int) -> None:
    members = unpacked(ARCHIVE)
    encoder = json.loads(dict(members)[MANIFEST_FILE])["encoder"] | {"dimension": dimension}
    with pytest.raises(InvalidInputError):
        read_all(signed(members, encoder=encoder))


def test_a_staged_document_has_no_passages(tmp_path: Path) -> None:
    members = unpacked(lines_changed(staged=True))
    store = DocumentStore(tmp_path / "store.db")
    store.set_identity(IDENTITY)
    rows = read_all(signed(members, documents=len(DOCUMENTS) - 2, staged=3))
    with pytest.raises(InvalidInputError, match="staged and has passages"):
        store.restore([row for row in rows if row.document.id == "py-except"][:1], 99)
    store.close()
