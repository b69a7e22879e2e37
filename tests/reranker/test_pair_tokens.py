import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from service.models.sources import PreparedModel
from service.reranker.best_window import best_window
from service.reranker.pair_tokens import PairTokenizer
from tests.fixtures.library import DOCUMENTS
from tests.fixtures.multilingual import LONG, ODD, SENTENCES

TEXTS = [text for texts in SENTENCES.values() for text in texts[:2]] + ODD + LONG[:3] + [""]
PAIRS = [(query, text) for query in ("why two tides", "Đạo hàm là gì?", "") for text in TEXTS]


@pytest.fixture(scope="module", params=["reranker", "e5"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    """Of a BERT, with token types, and of an XLM-RoBERTa, with two separators between."""
    model: PreparedModel = request.getfixturevalue(request.param)
    return AutoTokenizer.from_pretrained(model.folder, local_files_only=True)


def paired(tokenizer: Any, *, max_length: int = 512, cache_bytes: int = 10**6, window: int = 0):
    return PairTokenizer(tokenizer, max_length=max_length, cache_bytes=cache_bytes, window=window)


@pytest.mark.parametrize("max_length", [512, 64, 30])
def test_pairs_are_the_tokenizers_own(tokenizer: Any, max_length: int) -> None:
    ours = paired(tokenizer, max_length=max_length)
    assert ours._template is not None  # it puts them together itself
    tokens = ours.tokens([text for pair in PAIRS for text in pair])
    for query, passage in PAIRS:
        own = tokenizer(
            [query],
            [passage],
            truncation="only_second",
            max_length=max_length,
            return_token_type_ids=True,
        )
        made = ours.pair(query, passage, tokens)
        assert made.ids.tolist() == own["input_ids"][0], (query, passage)
        assert made.types.tolist() == own["token_type_ids"][0], (query, passage)
        whole = tokenizer([query], [passage], truncation=False, verbose=False)["input_ids"][0]
        assert made.truncated == (len(whole) > max_length)


def test_a_tokenizer_with_ways_of_its_own_encodes_each_pair_itself(
    reranker: PreparedModel, tmp_path: Path
) -> None:
    folder = tmp_path / "left"
    shutil.copytree(reranker.folder, folder)
    (folder / "model.safetensors").unlink()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, truncation_side="left")
    ours = paired(tokenizer, max_length=20)
    query, passage = "why two tides", LONG[0]
    made = ours.pair(query, passage, ours.tokens([query, passage]))
    own = tokenizer(query, passage, truncation="only_second", max_length=20)
    assert made.ids.tolist() == own["input_ids"]
    assert made.truncated


def test_what_is_remembered_is_bounded_and_changes_nothing(tokenizer: Any) -> None:
    narrow, none = paired(tokenizer, cache_bytes=2000), paired(tokenizer, cache_bytes=0)
    wide = paired(tokenizer)
    for _ in range(2):
        for texts in (TEXTS[:10], TEXTS[5:], TEXTS[:3]):
            found = [source.tokens(texts) for source in (wide, narrow, none)]
            for text in texts:
                assert all(np.array_equal(found[0][text], other[text]) for other in found[1:])
    assert 0 < narrow._cache.currsize <= 2000
    assert len(none._cache) == none._cache.currsize == 0
    assert len(wide._cache) == len(set(TEXTS))


def test_texts_are_tokenised_once(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = paired(tokenizer)
    ours.tokens(TEXTS)
    encoded: list[str] = []
    monkeypatch.setattr(ours, "_encode", lambda texts: encoded.extend(texts) or [])
    ours.tokens(TEXTS)
    assert encoded == []


def test_what_is_stored_is_not_tokenised(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, plain = paired(tokenizer, cache_bytes=0), paired(tokenizer).tokens(TEXTS)
    kept = dict(zip(TEXTS[1:], ours.pack(TEXTS[1:]), strict=True))
    kept[TEXTS[1]] += b"!"  # no whole number of ids
    encode, encoded = ours._encode, []
    monkeypatch.setattr(ours, "_encode", lambda texts: encoded.extend(texts) or encode(texts))
    found = ours.tokens(TEXTS, kept)
    assert encoded == TEXTS[:2]
    assert found.keys() == plain.keys()
    assert all(found[text].tolist() == plain[text].tolist() for text in TEXTS)


def test_the_window_is_where_the_querys_rare_words_are() -> None:
    query = np.array([7, 8, 1], np.int32)
    passage = np.array([1, 2, 1, 3, 1, 4, 7, 5, 8, 1, 6, 1, 2], np.int32)
    assert best_window(query, passage, 3).tolist() == [7, 5, 8]
    assert best_window(query, passage, 5).tolist() == [4, 7, 5, 8, 1]  # amid the window
    # Nothing is shared: the beginning.
    assert best_window(np.array([9], np.int32), passage, 4).tolist() == [1, 2, 1, 3]
    assert best_window(np.array([], np.int32), passage, 4).tolist() == [1, 2, 1, 3]


def test_a_long_passage_is_cut_to_its_window_and_says_so(tokenizer: Any) -> None:
    filler = " ".join(document.text for document in DOCUMENTS[:4])
    passage = f"{filler} The blue heron nests in the reeds. {filler}"
    ours = paired(tokenizer, window=24)
    query, short = "where does the heron nest", "The heron nests in the reeds."
    tokens = ours.tokens([query, passage, short])
    cut, whole = (ours.pair(query, text, tokens) for text in (passage, short))
    assert (cut.truncated, whole.truncated) == (True, False)
    assert "reeds" in tokenizer.decode(cut.ids)
    assert len(cut.ids) < 24 + len(tokens[query]) + 5
