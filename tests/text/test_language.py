import shutil
from pathlib import Path

import pytest
from py3langid import langid

from service.errors import ModelSourceError
from service.text import language
from service.text.language import UNDETERMINED, identify, search_language

ENGLISH = ["Compost needs air, moisture and a mix of green and brown material to become soil."]
JAPANESE = ["地震のときはまず机の下に入って頭を守り、揺れがおさまってから火を消します。"]


@pytest.mark.parametrize(
    ("query", "passages", "expected"),
    [
        ("how do I make good compost at home?", ENGLISH, "en"),
        ("compost", ENGLISH, "en"),
        ("JSON", ENGLISH, "en"),
        ("地震のときはどうすればいいですか", JAPANESE, "ja"),
        ("Làm thế nào để ủ phân hữu cơ tại nhà?", ENGLISH, UNDETERMINED),
        ("例外処理", ENGLISH, UNDETERMINED),
        ("東京", ENGLISH, UNDETERMINED),
        ("прилив", ENGLISH, UNDETERMINED),
        ("how do I make good compost at home?", JAPANESE, UNDETERMINED),
    ],
)
def test_query_and_passages_decide_together(query: str, passages: list[str], expected: str) -> None:
    assert search_language(query, passages) == expected


def test_without_passages_the_query_decides() -> None:
    assert search_language("how do I make good compost at home?", []) == "en"


def test_most_passages_decide_for_a_short_query() -> None:
    assert search_language("PDF", [*ENGLISH, *ENGLISH, *JAPANESE]) == "en"


def test_probability_grows_with_the_text() -> None:
    assert identify("air")[1] < identify(ENGLISH[0])[1] <= 1.0


@pytest.mark.parametrize("damage", ["one byte", "missing"])
def test_another_model_than_the_known_one_is_refused_before_it_is_read(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / langid.MODEL_FILE
    file.parent.mkdir()
    if damage == "one byte":
        shutil.copy(langid.MODEL_DIR / langid.MODEL_FILE, file)
        with file.open("r+b") as model:
            model.seek(-1, 2)
            model.write(b"!")
    monkeypatch.setattr(langid, "MODEL_DIR", tmp_path)
    language.load.cache_clear()
    with pytest.raises(ModelSourceError, match="not the file that is known by its SHA-256"):
        language.load()
