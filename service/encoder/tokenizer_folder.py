"""A model's tokenizer, read without transformers where its folder needs nothing of it."""

import sys
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from service.errors import ModelSourceError
from service.models.json_files import read_json

_PLAIN_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend")
"""Those that take tokenizer.json as it is; any other changes it in ways of its own."""

_MORE_FILES = ("special_tokens_map.json", "added_tokens.json")
_SPECIAL = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
"""In the order in which transformers adds the pieces to the vocabulary."""

_MEANS_NOTHING_HERE = {
    "tokenizer_class",
    "backend",
    "is_local",
    "local_files_only",
    "model_max_length",
    "model_input_names",
    "clean_up_tokenization_spaces",
    "padding_side",
    "truncation_side",
}


def load_tokenizer(folder: Path) -> tuple[Tokenizer, int]:
    """The tokenizer, and the most tokens that it states. Raises `ModelSourceError`."""
    stated, file = read_json(folder / "tokenizer_config.json"), folder / "tokenizer.json"
    if not file.is_file() or not _plain(folder, stated):
        # Not before it is needed: to import the library takes seconds and 150 MB.
        from service.encoder import library_model  # noqa: PLC0415

        return library_model.load_tokenizer(folder)
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing more exact
        raise ModelSourceError(f"{folder} has no readable tokenizer: {error}") from error
    known = {piece.content for piece in tokenizer.get_added_tokens_decoder().values()}
    names = dict.fromkeys(stated[key] for key in _special_keys() if stated.get(key))
    missing = [name for name in names if name not in known]
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in missing])
    return tokenizer, int(stated.get("model_max_length") or sys.maxsize)


def _plain(folder: Path, stated: dict[str, Any]) -> bool:
    if any((folder / name).exists() for name in _MORE_FILES):
        return False
    special = [stated.get(key) for key in _special_keys()]
    others = stated.keys() - _MEANS_NOTHING_HERE - set(_special_keys())
    return (
        stated.get("tokenizer_class") in _PLAIN_CLASSES
        and all(piece is None or isinstance(piece, str) for piece in special)
        and not others
    )


def _special_keys() -> list[str]:
    return [f"{name}_token" for name in _SPECIAL]
