"""Search by words in the store: live, transactional, safe with any query."""

from collections.abc import Callable

import numpy as np
import pytest

from service.store import lexical
from service.store.document_store import DocumentStore
from service.types import Document, EncodedDocument
from tests.fixtures.stores import now

Encoded = Callable[..., EncodedDocument]


def found(store: DocumentStore, text: str, count: int = 10) -> list[str]:
    """Ids of the documents whose passages are found, in their order."""
    with store.view() as view:
        candidates = view.matching(text, count)
        passages = view.passages([c.passage_id for c in candidates])
        scores = [c.score for c in candidates]
    assert scores == sorted(scores, reverse=True)
    return [passages[c.passage_id].document_id for c in candidates]


def put(store: DocumentStore, encoded: Encoded, **texts: str) -> None:
    store.put([encoded(id_, text, passages=1) for id_, text in texts.items()])


def staged(store: DocumentStore, encoded: Encoded, document: Document) -> None:
    """Write a document as the documents API does, and publish it."""
    store.stage([document])
    with store.view() as view:
        (row,) = view.waiting(1)
    store.publish([(row, encoded(document.id, document.text, title=document.title, passages=1))])


def test_what_shares_rarer_words_comes_first(store: DocumentStore, encoded: Encoded) -> None:
    put(store, encoded, a="the oil chain", b="the tide and the moon", c="the the the")
    assert found(store, "the MOON") == ["b", "c", "a"]
    assert found(store, "Oil, moon?") == ["a", "b"]
    assert found(store, "nothing") == found(store, "") == found(store, "…") == []


def test_a_titles_words_count_for_each_passage(store: DocumentStore, encoded: Encoded) -> None:
    store.put([encoded("a", "one two", title="Gezeiten"), encoded("b", "Ebbe und Flut")])
    assert found(store, "gezeiten") == ["a", "a"]


def test_a_passage_has_its_own_words_alone(store: DocumentStore, encoded: Encoded) -> None:
    store.put([encoded("a", "tide moon ", passages=2)])  # cut in the middle
    with store.view() as view:
        (first,) = view.matching("tide", 5)
        (second,) = view.matching("moon", 5)
    assert first.passage_id < second.passage_id


def test_a_replaced_or_deleted_document_is_found_no_more(
    store: DocumentStore, encoded: Encoded
) -> None:
    put(store, encoded, a="tide", b="tide moon")
    put(store, encoded, a="chain")
    assert (found(store, "tide"), found(store, "chain")) == (["b"], ["a"])
    store.delete(["b"])
    assert found(store, "tide moon") == []


def test_a_staged_document_is_found_once_it_is_published(
    store: DocumentStore, encoded: Encoded
) -> None:
    put(store, encoded, a="tide")
    store.stage([Document("a", "moon")])
    assert (found(store, "tide"), found(store, "moon")) == (["a"], [])
    staged(store, encoded, Document("a", "moon", "Mond"))
    assert (found(store, "tide"), found(store, "moon"), found(store, "mond")) == ([], ["a"], ["a"])


def test_new_metadata_alone_leaves_the_words(store: DocumentStore, encoded: Encoded) -> None:
    put(store, encoded, a="tide")
    store.stage([Document("a", "tide", "", {"kind": "sea"})])
    assert found(store, "tide") == ["a"]


def test_a_new_encoder_starts_without_words(store: DocumentStore, encoded: Encoded) -> None:
    put(store, encoded, a="tide")
    identity = now(store).identity
    assert identity is not None
    store.start_over(identity)
    assert found(store, "tide") == []
    put(store, encoded, a="tide")
    assert found(store, "tide") == ["a"]


def test_a_write_that_fails_leaves_no_words(store: DocumentStore, encoded: Encoded) -> None:
    broken = encoded("b", "tide", passages=1)
    broken.vectors[0, 0] = np.nan
    with pytest.raises(Exception, match="not finite"):
        store.put([encoded("a", "tide", passages=1), broken])
    assert found(store, "tide") == []


def test_a_view_sees_the_words_of_its_own_moment(store: DocumentStore, encoded: Encoded) -> None:
    put(store, encoded, a="tide")
    with store.view() as view:
        put(store, encoded, b="tide")
        store.delete(["a"])
        assert len(view.matching("tide", 5)) == 1
        assert len(view.passages([c.passage_id for c in view.matching("tide", 5)])) == 1
    assert found(store, "tide") == ["b"]


@pytest.mark.parametrize(
    "query",
    [
        'tide" OR "moon', "tide*", "words : tide", "{words} : tide", "tide AND NOT tide", "^tide",
        "NEAR(tide moon, 2)", "tide + moon", "-tide", "tide\0moon",
        "tide'); DROP TABLE passages;--", "tide) OR (moon", "rank MATCH 'x' tide",
    ],
)  # fmt: skip
def test_no_character_of_a_query_is_an_operator(
    store: DocumentStore, encoded: Encoded, query: str
) -> None:
    put(store, encoded, a="tide", c="tidesman")
    assert found(store, query) == ["a"]


def test_ties_are_settled_by_passage_id(store: DocumentStore, encoded: Encoded) -> None:
    put(store, encoded, c="tide", a="tide", b="tide")
    assert found(store, "tide") == ["c", "a", "b"]
    assert found(store, "tide", count=2) == ["c", "a"]


def test_only_allowed_passages_are_found(store: DocumentStore, encoded: Encoded) -> None:
    put(store, encoded, a="tide moon", b="tide", c="tide")
    with store.view() as view:
        everyone = [c.passage_id for c in view.matching("tide", 5)]
        allowed = np.array([*sorted(everyone)[1:], 10**9], np.int64)
        assert {c.passage_id for c in view.matching("tide", 5, allowed)} == set(everyone[:2])
        assert view.matching("tide", 5, np.empty(0, np.int64)) == []


def test_common_words_are_left_out_once_rarer_ones_have_entries_enough(
    store: DocumentStore, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, encoded, a="the tide", b="the moon", c="the chain", d="the tide")
    monkeypatch.setattr(lexical, "MOST_ENTRIES", 3)
    assert found(store, "the tide of the moon") == ["b", "a", "d"]
    assert found(store, "the") == ["a", "b", "c", "d"]  # the rarest word there is
    monkeypatch.setattr(lexical, "MOST_WORDS", 1)
    assert found(store, "the tide of the moon") == ["b"]


def test_a_word_that_the_query_repeats_counts_more(store: DocumentStore, encoded: Encoded) -> None:
    put(store, encoded, a="tide", b="moon", c="sea", d="sea")
    assert found(store, "tide moon") == ["a", "b"]
    assert found(store, "tide moon moon") == ["b", "a"]


def test_a_long_query_is_answered(store: DocumentStore, encoded: Encoded) -> None:
    put(store, encoded, a=" ".join(f"w{i}" for i in range(3000)), b="w7")
    assert found(store, " ".join(f"w{i}" for i in range(3000))) == ["a"]
    assert set(found(store, "w7 " * 2000)) == {"a", "b"}


def test_cosines_are_the_indexs_own(store: DocumentStore, encoded: Encoded) -> None:
    store.put([encoded(f"d{i}") for i in range(20)])
    query = np.eye(1, 8, dtype=np.float32)[0]
    with store.view() as view:
        ((ids, vectors),) = view.vectors(1000)
        cosines = view.cosines([*ids.tolist(), 10**9], query)
        assert view.cosines([], query) == {}
    assert cosines == {
        id_: float(vector.astype(np.float64)[0]) for id_, vector in zip(ids, vectors, strict=True)
    }
