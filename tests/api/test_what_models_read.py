"""Long titles, typed prefixes, control tokens and long queries, with the default models."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from fastapi.testclient import TestClient

Search = Callable[..., dict[str, Any]]

_DOG = "The annual dog licence fee was raised to 85 euros."
_DOG_QUERY = "how much is the annual dog licence fee"
_MINUTES = (
    "Minutes of the regular meeting of the committee for parks and gardens held in the large hall "
    "on the third floor "
)
_MINUTES_JA = "三階の大広間で開かれた公園と庭園のための委員会の定例会議の議事録 "
_DOG_JA = "犬の年間登録料が八十五ユーロに引き上げられた。"
_OTHERS_JA = {
    "cat": "猫の年間登録料が四十五ユーロに引き上げられた。",
    "park": "夏の間、公園は夜の九時に閉まる。",
    "bin": "庭のごみは毎月第二火曜日に集められる。",
    "bus": "夜行バスは土曜日に一時間ごとに出る。",
    "pool": "プールは朝八時から学校に開放される。",
}
_OTHERS = {
    "cat": "The annual cat licence fee was raised to 45 euros.",
    "park": "The park closes at nine in the evening in summer.",
    "bin": "Garden waste is collected every second Tuesday.",
    "bus": "The night bus runs every hour on Saturdays.",
    "pool": "The swimming pool is open to schools at eight.",
}
_NAMES = (f"texts-{number}" for number in count())


@pytest.fixture
def searching(client: TestClient) -> Iterator[Callable[..., Search]]:
    """Make a collection of documents and get what searches it."""
    made = []

    def make(*documents: dict[str, Any]) -> Search:
        name = next(_NAMES)
        made.append(path := f"/collections/{name}")
        assert client.post("/collections", json={"name": name}).status_code == 201
        stored = client.post(
            f"{path}/documents", params={"wait": True}, json={"documents": list(documents)}
        )
        assert stored.json()["refused"] == []

        def search(query: str, **more: Any) -> dict[str, Any]:
            answer = client.post(f"{path}/search", json={"query": query, **more})
            assert answer.status_code == 200, answer.text
            found: dict[str, Any] = answer.json()
            return found | {"path": path}

        return search

    yield make
    for path in made:
        client.delete(path)


@pytest.mark.parametrize("length", [60, 600, 1200, 2000])
def test_a_long_title_does_not_hide_the_text(
    length: int, searching: Callable[..., Search], client: TestClient
) -> None:
    title = (_MINUTES * 20)[:length]
    others = [{"id": id_, "title": "Minutes", "text": text} for id_, text in _OTHERS.items()]
    found = searching({"id": "dog", "title": title, "text": _DOG}, *others)(_DOG_QUERY)
    assert found["hits"][0]["id"] == "dog"
    stored = client.get(f"{found['path']}/documents/dog").json()
    assert stored["indexed"]
    assert stored["title"] == title
    if length == 60:
        assert stored["problem"] is None
    else:
        assert f"of the title's {length} characters" in stored["problem"]


def test_a_long_title_does_not_hide_a_japanese_text(searching: Callable[..., Search]) -> None:
    search = searching(
        {"id": "dog", "title": (_MINUTES_JA * 60)[:1200], "text": _DOG_JA},
        *({"id": id_, "title": "議事録", "text": text} for id_, text in _OTHERS_JA.items()),
    )
    assert search("犬の登録料は年間いくらですか")["hits"][0]["id"] == "dog"


def test_typed_prefixes_change_no_score(searching: Callable[..., Search]) -> None:
    typed = {"bare": _DOG, "passage": f"passage: {_DOG}", "query": f"query: {_DOG}"}
    search = searching(*({"id": id_, "text": text} for id_, text in typed.items()))
    hits = search(_DOG_QUERY)["hits"]
    assert len(hits) == 3
    assert len({(hit["retrieval_score"], hit["rerank_score"]) for hit in hits}) == 1


def test_a_text_about_a_control_token_is_found(searching: Callable[..., Search]) -> None:
    does = {
        "s": "The <s> tag draws a line through text that is no longer right.",
        "pad": "The <pad> token fills short rows up to the length of the longest.",
        "mask": "The <mask> token stands for a word that the model has to guess.",
        "u": "The <u> tag underlines text that is spelled in another way.",
        "b": "The <b> tag draws attention to text without giving it importance.",
    }
    search = searching(*({"id": id_, "text": text} for id_, text in does.items()))
    for id_ in does:
        assert search(f"what does the <{id_}> do")["hits"][0]["id"] == id_


def test_the_end_of_a_long_query_counts(searching: Callable[..., Search]) -> None:
    texts = _OTHERS | {"dog": _DOG}
    search = searching(*({"id": id_, "text": text} for id_, text in texts.items()))
    filler = ("We met again on Monday and spoke about many things of little importance. " * 60)[
        :3900
    ]
    found = {
        id_: search(f"{filler} {question}")
        for id_, question in {
            "dog": "How much is the annual dog licence fee?",
            "pool": "When is the swimming pool open to schools?",
        }.items()
    }
    for id_, result in found.items():
        assert result["hits"][0]["id"] == id_
        assert result["rerank"]["status"] == "complete"
        (warning,) = result["warnings"]
        assert "and each hit is ranked by the part that fits it best" in warning


def test_a_query_within_the_encoders_window_is_read_whole(searching: Callable[..., Search]) -> None:
    search = searching({"id": "dog", "text": _DOG}, {"id": "pool", "text": _OTHERS["pool"]})
    filler = "We met again on Monday and spoke about many things. " * 35
    result = search(f"{filler} How much is the annual dog licence fee?")
    assert result["warnings"] == []
    assert result["hits"][0]["id"] == "dog"
