"""Write a decoded E5 network as a standard sentence-transformers folder."""

import json
from pathlib import Path
from typing import Any

from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.models import Unigram as UnigramModel
from tokenizers.normalizers import NFKC, Replace, Sequence
from tokenizers.pre_tokenizers import Metaspace
from tokenizers.processors import TemplateProcessing

from service.models.q4 import Header, Q4Model, Unigram

# A code point that the vocabulary never uses: it carries U+FF5E unharmed through NFKC.
_FULLWIDTH_TILDE, _STAND_IN = "\uff5e", "\ue000"


def write_e5_folder(model: Q4Model, folder: Path) -> None:
    """Write weights (float32 safetensors), tokenizer and module files into an existing folder."""
    save_file(dict(model.tensors), folder / "model.safetensors", metadata={"format": "pt"})
    build_tokenizer(model.unigram).save(str(folder / "tokenizer.json"))
    for name, content in _json_files(model.header).items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def build_tokenizer(unigram: Unigram) -> Tokenizer:
    """XLM-RoBERTa's tokenizer from its pieces.

    The file's per-code-point map is NFKC but for white space and controls (`_normalizer`), so the
    standard normalizers stand in for it and also compose what the map leaves apart.
    """
    tokenizer = Tokenizer(UnigramModel(unigram.pieces, unk_id=unigram.unk, byte_fallback=False))
    tokenizer.normalizer = _normalizer(unigram.replacements)
    tokenizer.pre_tokenizer = Metaspace(replacement="▁", prepend_scheme="always", split=False)
    bos, eos, pad = (unigram.pieces[i][0] for i in (unigram.bos, unigram.eos, unigram.pad))
    tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A {eos}",
        pair=f"{bos} $A {eos} {eos} $B {eos}",
        special_tokens=[(bos, unigram.bos), (eos, unigram.eos)],
    )
    # `special` but never matched in text: a caller who types "</s>" means four characters.
    tokenizer.encode_special_tokens = True
    tokenizer.add_special_tokens(
        [AddedToken(piece, normalized=False, special=True) for piece in (bos, pad, eos)]
    )
    return tokenizer


def _normalizer(replacements: dict[str, str]) -> Sequence:
    dropped = [c for c, to in replacements.items() if not to]
    spaces = [c for c, to in replacements.items() if to == " "]
    return Sequence(
        [
            Replace(Regex(_character_class(dropped)), ""),
            Replace(Regex(_character_class(spaces)), " "),
            Replace(_FULLWIDTH_TILDE, _STAND_IN),
            NFKC(),
            Replace(_STAND_IN, _FULLWIDTH_TILDE),
            Replace(Regex(" {2,}"), " "),
        ]
    )


def _character_class(characters: list[str]) -> str:
    return "[" + "".join(f"\\x{{{ord(c):x}}}" for c in characters) + "]"


def _json_files(header: Header) -> dict[str, Any]:
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    pretokenizer_class = "PreTrainedTokenizerFast"
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
            "tokenizer_class": pretokenizer_class,
            "model_max_length": header.positions,
            "cls_token": "<s>",
            "sep_token": "</s>",
            "mask_token": "<mask>",
            "model_input_names": ["input_ids", "attention_mask"],
            **special,
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
