"""Crops keep whole sentences, around the query's words, within one budget for a whole list."""

import random

from service.text.chunker import sentences
from service.training.lists import crop_alike

TIDE = (
    "The harbour has two piers. At low tide the water is four metres deep. "
    "Ferries use the eastern one. In winter the western pier is closed. Fish is sold on Fridays."
)
DERIVATIVE = (
    "Đạo hàm đo tốc độ thay đổi của hàm số. Đạo hàm của sin x là cos x. "
    "Đạo hàm của hằng số bằng 0. Tích phân là phép toán ngược của đạo hàm."
)
QUERY = "How deep is the water at low tide?"


def words(texts: list[str] | tuple[str, ...]) -> list[int]:
    return [len(text.split()) for text in texts]


def crops(seed: int, query: str = QUERY, longest: int = 40) -> list[str]:
    rng = random.Random(seed)
    return crop_alike(query, [TIDE, DERIVATIVE], rng, lambda t: words(list(t)), longest=longest)


def test_a_crop_is_neighbouring_whole_sentences() -> None:
    for seed in range(30):
        for text, crop in zip((TIDE, DERIVATIVE), crops(seed), strict=True):
            starts = {start for start, _end in sentences(text, 0)}
            ends = {len(text[:end].rstrip()) for _start, end in sentences(text, 0)}
            at = text.index(crop)
            assert at in starts
            assert at + len(crop) in ends


def test_the_sentence_with_the_querys_words_is_kept() -> None:
    assert all("four metres deep" in crops(seed)[0] for seed in range(30))
    question = "Đạo hàm của sin x là gì?"
    assert all("cos x" in crops(seed, question)[1] for seed in range(30))


def test_lengths_go_from_one_sentence_to_the_whole() -> None:
    found = {crops(seed)[0] for seed in range(60)}
    assert "At low tide the water is four metres deep." in found
    assert TIDE in found
    assert max(words(list(found))) <= 40


def test_the_budget_bounds_all_but_a_single_sentence() -> None:
    for seed in range(30):
        assert max(words(crops(seed, longest=8))) <= 10


def test_it_is_seeded_and_leaves_a_single_sentence_alone() -> None:
    assert crops(3) == crops(3)
    alone = ["Không có dấu chấm ở đây"]
    assert crop_alike(QUERY, alone, random.Random(0), lambda t: words(list(t)), longest=8) == alone
