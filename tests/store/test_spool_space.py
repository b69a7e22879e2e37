from pathlib import Path
from types import SimpleNamespace

import pytest

from service.errors import OverloadedError, StoreFullError
from service.store import spool_space
from service.store.spool_space import SpoolSpace


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SpoolSpace:
    made = SpoolSpace(tmp_path)
    # A disk of 100 bytes, on which every byte that was taken is written at once.
    usage = lambda _folder: SimpleNamespace(free=100 - made._taken)  # noqa: E731
    monkeypatch.setattr(spool_space.shutil, "disk_usage", usage)
    return made


def test_one_file_may_take_half_of_the_free_space(space: SpoolSpace) -> None:
    with space.borrowed() as take:
        for _ in range(5):
            take(10)
        with pytest.raises(StoreFullError):
            take(1)


def test_all_files_together_may_take_half_of_it(space: SpoolSpace) -> None:
    with space.borrowed() as take:
        take(30)
        with space.borrowed() as other, pytest.raises(OverloadedError, match="half of the free"):
            other(21)
        with space.borrowed() as other:
            other(20)


def test_what_is_given_back_may_be_taken_again(space: SpoolSpace) -> None:
    for _ in range(3):
        with space.borrowed() as take:
            take(50)
            with pytest.raises(StoreFullError):
                take(1)
