"""Write a decoded E5 network as a standard sentence-transformers folder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from service.models.q4 import Header, Q4Model, Unigram

# A code point that the vocabulary never uses: it carries U+FF5E unharmed through NFKC.
_FULLWIDTH_TILDE, _STAND_IN = "\uff5e", "\ue000"


def write_e5_folder(model: Q4Model, folder: Path) -> None:
    """Write weights (float32 safetensors), tokenizer and module files into an existing folder.

    All but the weights is written here and not by a library, so that the same model has the same
    hash whatever versions are installed.
    """
    hidden = model.header.hidden
    tensors = {
        **model.tensors,
        # BertModel has a pooler; mean pooling never reads it, so zeros stand in for it.
        "pooler.dense.weight": np.zeros((hidden, hidden), np.float32),
        "pooler.dense.bias": np.zeros(hidden, np.float32),
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    files = {"tokenizer.json": tokenizer_json(model.unigram), **_json_files(model.header)}
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content) + "\n", encoding="utf-8")


def tokenizer_json(unigram: Unigram) -> dict[str, Any]:
    """XLM-RoBERTa's tokenizer from its pieces, as the `tokenizers` library reads it.

    The file's per-code-point map is NFKC but for white space and controls (`_normalizer`), so the
    standard normalizers stand in for it and also compose what the map leaves apart.
    """
    ids = {unigram.pieces[i][0]: i for i in (unigram.bos, unigram.eos)}
    bos, eos = ids
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            _added_token(i, unigram.pieces[i][0])
            for i in sorted((unigram.bos, unigram.pad, unigram.eos))
        ],
        "normalizer": {"type": "Sequence", "normalizers": _normalizers(unigram.replacements)},
        "pre_tokenizer": {
            "type": "Metaspace",
            "replacement": "▁",
            "prepend_scheme": "always",
            "split": False,
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": _template(bos, "A", eos),
            "pair": _template(bos, "A", eos, eos, "B", eos),
            "special_tokens": {
                piece: {"id": piece, "ids": [i], "tokens": [piece]} for piece, i in ids.items()
            },
        },
        "decoder": None,
        "model": {
            "type": "Unigram",
            "unk_id": unigram.unk,
            "vocab": unigram.pieces,
            "byte_fallback": False,
        },
    }


def _added_token(number: int, piece: str) -> dict[str, Any]:
    behaviour = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": piece, **behaviour, "special": True}


def _template(*parts: str) -> list[dict[str, Any]]:
    return [
        {"Sequence" if part in {"A", "B"} else "SpecialToken": {"id": part, "type_id": 0}}
        for part in parts
    ]


def _normalizers(replacements: dict[str, str]) -> list[dict[str, Any]]:
    dropped = [c for c, to in replacements.items() if not to]
    spaces = [c for c, to in replacements.items() if to == " "]
    return [
        _replace({"Regex": _character_class(dropped)}, ""),
        _replace({"Regex": _character_class(spaces)}, " "),
        _replace({"String": _FULLWIDTH_TILDE}, _STAND_IN),
        {"type": "NFKC"},
        _replace({"String": _STAND_IN}, _FULLWIDTH_TILDE),
        _replace({"Regex": " {2,}"}, " "),
    ]


def _replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def _character_class(characters: list[str]) -> str:
    return "[" + "".join(f"\\x{{{ord(c):x}}}" for c in characters) + "]"


def _json_files(header: Header) -> dict[str, Any]:
    return {
        "config.json": {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "hidden_size": header.hidden,
            "num_hidden_layers": header.layers,
            "num_attention_heads": header.heads,
            "intermediate_size": header.intermediate,
            "vocab_size": header.vocabulary,
            "max_position_embeddings": header.positions,
            "type_vocab_size": header.token_types,
            "layer_norm_eps": header.layer_norm_eps,
            "hidden_act": "gelu",
            "pad_token_id": 1,
            "dtype": "float32",
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": header.positions,
            "cls_token": "<s>",
            "sep_token": "</s>",
            "mask_token": "<mask>",
            "model_input_names": ["input_ids", "attention_mask"],
            "bos_token": "<s>",
            "eos_token": "</s>",
            "pad_token": "<pad>",
            "unk_token": "<unk>",
        },
        "modules.json": [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (path, kind) in enumerate(
                [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
            )
        ],
        "sentence_bert_config.json": {"max_seq_length": header.positions, "do_lower_case": False},
        "1_Pooling/config.json": {
            "word_embedding_dimension": header.hidden,
            "pooling_mode_mean_tokens": True,
        },
        "2_Normalize/config.json": {},
        "config_sentence_transformers.json": {
            "prompts": {"query": "query: ", "passage": "passage: ", "document": "passage: "},
            "similarity_fn_name": "cosine",
        },
    }
