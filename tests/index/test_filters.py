from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InvalidInputError
from service.index.document_store import DocumentStore
from service.index.filters import MAX_FIELDS, MAX_VALUES
from service.index.records import EncodedDocument
from service.types import Document, EncoderIdentity, Metadata, Span

Encoded = Callable[..., EncodedDocument]

CORPUS: dict[str, Metadata] = {
    "text-1": {"v": "1"},
    "number-1": {"v": 1},
    "true": {"v": True},
    "false": {"v": False},
    "zero": {"v": 0},
    "null": {"v": None},
    "none": {},
    "list": {"v": ["1", "b"]},
    "empty list": {"v": []},
    "empty text": {"v": ""},
    "float": {"v": 0.1 + 0.2},
    "large": {"v": 2**63 - 1},
    "nul": {"v": "a\0b"},
    "two": {"v": "x", "w": "y"},
    "second only": {"w": 1},
    "odd names": {"a' OR 1=1 --": "x", "$.v": "x", 'v"]': "x", "é.ü": "x", "": "x", "v\0": "x"},
}


@pytest.fixture
def filled(store: DocumentStore, encoded: Encoded) -> DocumentStore:
    store.put([encoded(name, metadata=metadata) for name, metadata in CORPUS.items()])
    return store


def found(store: DocumentStore, filters: Any) -> set[str]:
    ids = store.allowed(filters)
    assert ids.dtype == np.int64
    assert (np.diff(ids) > 0).all()
    passages = store.passages(ids.tolist()).values()
    names = [passage.document_id for passage in passages]
    assert all(names.count(name) == 2 for name in names)  # both passages of each document
    return set(names)


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({}, set(CORPUS)),
        ({"v": "1"}, {"text-1", "list"}),
        ({"v": 1}, {"number-1"}),
        ({"v": 1.0}, {"number-1"}),
        ({"v": True}, {"true"}),
        ({"v": False}, {"false"}),
        ({"v": 0}, {"zero"}),
        ({"v": ""}, {"empty text"}),
        ({"v": "b"}, {"list"}),
        ({"v": ["1", 1, True]}, {"text-1", "number-1", "true", "list"}),
        ({"v": []}, set()),
        ({"v": 0.1 + 0.2}, {"float"}),
        ({"v": 0.3}, set()),
        ({"v": 2**63 - 1}, {"large"}),
        ({"v": float(2**63)}, set()),
        ({"v": 2**63}, set()),
        ({"v": float("nan")}, set()),
        ({"v": "a\0b"}, {"nul"}),
        ({"v": "a"}, set()),
        ({"v": "\ud800"}, set()),
        ({"\ud800": "x"}, set()),
        ({"v": "null"}, set()),
        ({"unknown": "x"}, set()),
        ({"v": "x", "w": "y"}, {"two"}),
        ({"v": "x", "w": "z"}, set()),
        ({"v": "x", "unknown": "y"}, set()),
        # UNION inside one field must not swallow the INTERSECT of two.
        ({"v": ["x", 1, True], "w": ["y", 1]}, {"two"}),
        ({"a' OR 1=1 --": "x"}, {"odd names"}),
        ({"$.v": "x"}, {"odd names"}),
        ({'v"]': "x"}, {"odd names"}),
        ({"é.ü": "x"}, {"odd names"}),
        ({"": "x"}, {"odd names"}),
        ({"v\0": "x"}, {"odd names"}),
        ({"v": "x' OR '1'='1"}, set()),
        ({"v') OR ('1'='1": "x"}, set()),
    ],
)
def test_a_filter_finds_exactly_its_documents(
    filled: DocumentStore, filters: Any, names: set[str]
) -> None:
    assert found(filled, filters) == names


def test_filters_at_their_limits_work_and_beyond_are_refused(filled: DocumentStore) -> None:
    values = [f"value {i}" for i in range(MAX_VALUES - 1)]
    assert found(filled, {"v": [*values, "b"]}) == {"list"}
    assert found(filled, {f"f{i}": ["x", 1, True] for i in range(MAX_FIELDS)}) == set()
    for beyond in ({"v": [*values, "b", "c"]}, {f"f{i}": 1 for i in range(MAX_FIELDS + 1)}):
        with pytest.raises(InvalidInputError, match="at most") as caught:
            filled.allowed(beyond)
        assert caught.value.field == "filters"


FIELDS = st.sampled_from(["a", "b", "A"])
SCALARS = st.one_of(
    st.sampled_from(["", "1", "true", "x", "X"]),
    st.integers(-2, 2),
    st.booleans(),
    st.sampled_from([0.0, -0.0, 1.0, 0.5]),
)
VALUES = st.one_of(SCALARS, st.none(), st.lists(st.sampled_from(["", "1", "x"]), max_size=2))


def same(stored: Any, wanted: Any) -> bool:
    kinds = [(isinstance(v, str), isinstance(v, bool)) for v in (stored, wanted)]
    return kinds[0] == kinds[1] and bool(stored == wanted)


def satisfies(metadata: Metadata, filters: dict[str, Any]) -> bool:
    for field, wanted in filters.items():
        stored = metadata.get(field)
        elements = stored if isinstance(stored, list) else [] if stored is None else [stored]
        choices = wanted if isinstance(wanted, list) else [wanted]
        if not any(same(element, choice) for element in elements for choice in choices):
            return False
    return True


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.dictionaries(FIELDS, VALUES, max_size=3), min_size=1, max_size=5),
    st.dictionaries(FIELDS, st.one_of(SCALARS, st.lists(SCALARS, max_size=3)), max_size=3),
)
def test_filters_agree_with_plain_python(
    property_store: DocumentStore, corpus: list[dict[str, Any]], filters: dict[str, Any]
) -> None:
    property_store.delete([str(i) for i in range(5)])
    rows = [
        EncodedDocument(Document(str(i), "x", "", m), [Span(0, 1)], np.zeros((1, 8), np.float32))
        for i, m in enumerate(corpus)
    ]
    property_store.put(rows)
    ids = property_store.allowed(filters).tolist()
    names = {passage.document_id for passage in property_store.passages(ids).values()}
    assert names == {str(i) for i, m in enumerate(corpus) if satisfies(m, filters)}


@pytest.fixture(scope="module")
def property_store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path: Path = tmp_path_factory.mktemp("property") / "store.db"
    store = DocumentStore(path)
    store.set_identity(EncoderIdentity("m", "0" * 64, 8, "", "", 256, 1))
    yield store
    store.close()
