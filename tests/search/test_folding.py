"""Near-duplicates are folded, texts about the same are not."""

import time

from hypothesis import given
from hypothesis import strategies as st

from service.search.folding import SAME, _shingles, folded
from service.search.grouping import group_value, grouped

TIDES = (
    "Tides follow the moon: its gravity raises two bulges of water, and the turning earth carries "
    "each coast through both, so most places see two high tides a day. The sun helps or hinders."
)
LOCKS = "A lock lifts a ship by letting water flow into a closed chamber between two gates."
KANJI = (
    "潮の満ち引きは月の引力によって起こり、一日に二回ずつ満潮と干潮が訪れる。太陽も影響を与える。"
)


def test_case_marks_and_a_changed_word_do_not_keep_texts_apart() -> None:
    shouted = TIDES.upper().replace(",", "  ;")
    edited = TIDES.replace("helps", "aids")
    assert folded([TIDES, LOCKS, shouted, edited]) == [0, 1, 0, 0]


def test_languages_without_spaces_are_folded_too() -> None:
    assert folded([KANJI, KANJI.replace("、", " "), TIDES]) == [0, 0, 2]


def test_another_text_on_the_subject_stays() -> None:
    other = "The moon pulls on the sea, which is why there are tides twice a day at most coasts."
    assert folded([TIDES, other]) == [0, 1]


def test_a_text_near_two_that_stay_is_folded_into_the_first() -> None:
    first, both, second = f"{TIDES} {LOCKS}", f"{TIDES} {LOCKS} {KANJI}", f"{LOCKS} {KANJI}"
    assert folded([first, second], same=0.3) == [0, 1]
    assert folded([second, first, both], same=0.3) == [0, 1, 0]
    assert folded([first, second, both], same=0.3) == [0, 1, 0]


def test_texts_without_letters_stay() -> None:
    assert folded(["", "…", "", " - "]) == [0, 1, 2, 3]
    assert folded(["A!", "a?", "b"]) == [0, 0, 2]


@given(st.lists(st.text(alphabet="ab c", max_size=30), max_size=12))
def test_what_stays_is_never_nearly_the_same(texts: list[str]) -> None:
    into = folded(texts)
    assert len(into) == len(texts)
    for place, kept in enumerate(into):
        assert kept <= place
        assert into[kept] == kept
    stays = [
        set(_shingles(text).tolist()) for place, text in enumerate(texts) if into[place] == place
    ]
    for place, one in enumerate(stays):
        for other in stays[:place]:
            assert not one or len(one & other) < SAME * len(one | other)


def test_passages_that_are_alike_but_not_the_same_take_little_time() -> None:
    same = [f"word{n}" for n in range(200)]
    texts = [" ".join(same + [f"{page:03}x{n:02}" for n in range(50)]) for page in range(300)]
    began = time.process_time()
    assert folded(texts) == list(range(300))
    assert time.process_time() - began < 1.5


def test_a_thousand_passages_take_less_than_two_seconds() -> None:
    texts = [f"{TIDES} {LOCKS} {n} " * 5 for n in range(1000)]
    began = time.process_time()
    assert set(folded(texts)) == {0}
    assert time.process_time() - began < 2.0


def test_a_group_has_one_value_of_one_kind() -> None:
    values = [group_value({"kind": kind}, "kind") for kind in ("a", 1, True, 1.0, "1", ["a", "b"])]
    assert grouped(values) == [[0, 5], [1, 3], [2], [4]]


def test_documents_without_a_value_are_groups_of_their_own() -> None:
    without = [group_value(metadata, "kind") for metadata in ({}, {"kind": None}, {"kind": []})]
    assert without == [None] * 3
    assert grouped(["a", None, "b", None, "a"]) == [[0, 4], [1], [2], [3]]


def test_names_and_values_are_compared_in_one_form() -> None:
    assert group_value({"ế": "ế"}, "ế") == "ế"
