"""Which language a search is in, from its query and what stage one found for it."""

from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import regex

from service.errors import ModelSourceError
from service.models.folder import file_sha256
from service.text.normalizer import clean

SURE = 0.5
"""Probability below which a query is too short to tell its language."""

UNDETERMINED = "und"
"""The language of a search whose query and passages differ."""

_REQUIREMENT = "py3langid==0.4.0"
_MODEL_SHA256 = "f4f4a2c3465ca1f081541037f9cac23021d68151c2f709c55ae5eedfca522963"
"""The package that brings the language model, and the hash of that model. Earlier versions of the
package unpickle their model, so the exact version is required and the file is checked."""

_SAMPLE_CHARS = 300

_CLEANED_CHARS = 2000
"""Only the beginning of a long passage is cleaned: this runs on the event loop."""

_REMEMBERED = 4096
"""The languages of this number of queries and of passages are kept: popular passages are found
often, and identifying one takes a quarter of a millisecond on the event loop."""


@cache
def load() -> Any:
    """The language model. Reading it takes a second: call this before the first search.

    Raises `ModelSourceError` when its file is not the one that is known here.
    """
    from py3langid.langid import MODEL_DIR, MODEL_FILE, LanguageIdentifier  # noqa: PLC0415 - slow

    path = MODEL_DIR / MODEL_FILE
    if not path.is_file() or file_sha256(path) != _MODEL_SHA256:
        mend = f"pip install --force-reinstall {_REQUIREMENT}"
        raise ModelSourceError(f"{path} is not the file that is known by its SHA-256: {mend}")
    return LanguageIdentifier.from_model_file(path, norm_probs=True)


def identify(text: str) -> tuple[str, float]:
    """ISO 639 code of the likeliest language and its probability (py3langid)."""
    return _identify(text[:_SAMPLE_CHARS])


def search_language(query: str, passages: Sequence[str]) -> str:
    """The language that query and passages share, or `UNDETERMINED` where they differ.

    The query is cleaned; the passages need not be. A query of one or two words rarely shows its
    language. So below `SURE` the most frequent language of the passages counts for both, if both or
    neither are in Latin letters.
    """
    query_language, probability = identify(query)
    if not passages:
        return query_language
    seen = [_of_passage(text[:_CLEANED_CHARS]) for text in passages]
    found = Counter(code for _, code in seen)
    passage_language = min(found, key=lambda code: (-found[code], code))
    unsure = probability < SURE and _is_latin(query) == _is_latin(
        " ".join(start for start, _ in seen)
    )
    if unsure or query_language == passage_language:
        return passage_language
    return UNDETERMINED


@lru_cache(maxsize=_REMEMBERED)
def _identify(text: str) -> tuple[str, float]:
    language, probability = load().classify(text)
    return str(language), float(probability)


@lru_cache(maxsize=_REMEMBERED)
def _of_passage(text: str) -> tuple[str, str]:
    """The cleaned beginning of a passage, and its language."""
    start = clean(text)[:_SAMPLE_CHARS]
    return start, str(load().classify(start)[0])


def _is_latin(text: str) -> bool:
    """Are most letters Latin? True for a text without letters."""
    letters = regex.findall(r"\p{L}", text[:_SAMPLE_CHARS])
    return 2 * len(regex.findall(r"\p{Latin}", text[:_SAMPLE_CHARS])) >= len(letters)
