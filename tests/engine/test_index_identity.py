"""An index belongs to all that decided what is in it."""

from pathlib import Path

import pytest

from service.engine import build
from service.engine.build import index_digest, index_identity
from service.errors import IndexMismatchError
from service.settings import Settings
from service.store.data_folder import DataFolder
from tests.fixtures.doubles import HashEncoder

VERSIONS = {
    "CHUNKER_VERSION": "chunker_version",
    "PASSAGE_TEXT_VERSION": "passage_text_version",
    "WORDS_VERSION": "words_version",
}


@pytest.mark.parametrize(("constant", "field"), VERSIONS.items())
def test_another_version_of_a_rule_refuses_the_index(
    constant: str, field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data_dir=tmp_path)
    before = index_digest(settings)
    with DataFolder.open(tmp_path) as folder:
        folder.store.set_identity(index_identity(settings, HashEncoder.identity))
        monkeypatch.setattr(build, constant, getattr(build, constant) + 1)
        with pytest.raises(IndexMismatchError, match=f"{field} is .* secondpass reindex"):
            folder.store.set_identity(index_identity(settings, HashEncoder.identity))
    assert index_digest(settings) != before


def test_another_overlap_refuses_the_index(tmp_path: Path) -> None:
    settings, other = (Settings(data_dir=tmp_path, passage_overlap=n) for n in (32, 31))
    with DataFolder.open(tmp_path) as folder:
        folder.store.set_identity(index_identity(settings, HashEncoder.identity))
        with pytest.raises(IndexMismatchError, match="passage_overlap is 32 there, 31 here"):
            folder.store.set_identity(index_identity(other, HashEncoder.identity))
    assert index_digest(settings) != index_digest(other)
