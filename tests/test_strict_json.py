"""JSON from outside: a key that appears twice is refused, by its name and place."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import strict_json
from service.errors import DuplicateKeyError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES, st.booleans())
def test_what_has_no_key_twice_is_read_as_ever(value: object, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert strict_json.loads(text) == value
    assert strict_json.loads(text.encode()) == value


@pytest.mark.parametrize(
    ("text", "key", "path", "place"),
    [
        ('{"a": 1, "a": 2}', "a", "a", "line 1, column 10"),
        ('{"a": 1,\n "b": {"c": [1, {"d": 0}],\n  "c": 2}}', "c", "b.c", "line 3, column 3"),
        ('[{"x": ","}, {"x": "{", "y": "\\"", "x": 1}]', "x", "1.x", "line 1, column 36"),
        ('{"a": 1, "\\u0061": 2}', "a", "a", "line 1, column 10"),
        ('{"": 1, "": 2}', "", "", "line 1, column 9"),
        ('{"a": {"a": {"a": 1}, "b": 1, "a": 2}}', "a", "a.a", "line 1, column 31"),
        ('{"a\\": 1, \\"a": [], "a\\": 1, \\"a": 1}', 'a": 1, "a', 'a": 1, "a', "column 21"),
    ],
)
def test_key_path_and_place_are_told(text: str, key: str, path: str, place: str) -> None:
    for data in (text, text.encode(), b"\xef\xbb\xbf" + text.encode()):
        with pytest.raises(DuplicateKeyError) as found:
            strict_json.loads(data)
        assert found.value.key == key
        assert found.value.field == path
        assert place in str(found.value)


def test_what_is_told_of_a_key_is_short_and_unicode() -> None:
    key = "\\ud800" + "k" * 100_000
    with pytest.raises(DuplicateKeyError) as found:
        strict_json.loads(f'{{"{key}": 1, "{key}": 2}}')
    assert len(str(found.value).encode()) < 300
    assert len(found.value.field.encode()) <= 200


def test_broken_json_is_what_it_was() -> None:
    with pytest.raises(json.JSONDecodeError):
        strict_json.loads('{"a": 1, "a": 2')


@pytest.mark.parametrize("unit", ['{"a": 1}, ', '"\\\\\\"", ', '[["x"]], ', "1.5, "])
def test_a_duplicate_at_the_end_is_found_in_linear_time(unit: str) -> None:
    def seconds(times: int) -> float:
        text = f'{{"all": [{unit * times} 0], "all": 1}}'
        began = time.process_time()
        with pytest.raises(DuplicateKeyError):
            strict_json.loads(text)
        return time.process_time() - began

    # 16 times as much; in quadratic time it would take 256 times as long.
    assert seconds(160_000) < 16 * 5 * min(seconds(10_000) for _ in range(3))


@pytest.mark.parametrize(
    "body",
    [
        '{"a": [' + "[]," * 2_000_000 + "[]]}",
        "[" + "0," * 2_000_000 + "0]",
        "[" + '"",' * 2_000_000 + '""]',
        "{" + ",".join(f'"{i}":0' for i in range(1_100_000)) + "}",
    ],
    ids=["arrays", "numbers", "strings", "keys"],
)
def test_too_many_values_are_refused_before_they_hold_all_threads_up(body: str) -> None:
    for data in (body, body.encode()):
        with pytest.raises(json.JSONDecodeError, match="more than 1,000,000 values"):
            strict_json.loads(data)


def test_commas_in_strings_are_no_values() -> None:
    value = {"text": '1,2,\\",' * 500_000, "n": list(range(10))}
    assert strict_json.loads(json.dumps(value).encode()) == value
