import pytest

from service.text.language import UNDETERMINED, identify, search_language

ENGLISH = ["Compost needs air, moisture and a mix of green and brown material to become soil."]
JAPANESE = ["地震のときはまず机の下に入って頭を守り、揺れがおさまってから火を消します。"]


@pytest.mark.parametrize(
    ("query", "passages", "language"),
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
def test_query_and_passages_decide_together(query: str, passages: list[str], language: str) -> None:
    assert search_language(query, passages) == language


def test_without_passages_the_query_decides() -> None:
    assert search_language("how do I make good compost at home?", []) == "en"


def test_most_passages_decide_for_a_short_query() -> None:
    assert search_language("PDF", [*ENGLISH, *ENGLISH, *JAPANESE]) == "en"


def test_probability_grows_with_the_text() -> None:
    assert identify("air")[1] < identify(ENGLISH[0])[1] <= 1.0
