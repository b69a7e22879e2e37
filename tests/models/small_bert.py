"""A BERT of two thin layers, with a vocabulary of words, as a sentence-transformers folder."""

from collections.abc import Iterable
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaModel,
)

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
_SHAPE = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 66,
    "pad_token_id": 1,
}


def write_small_bert(
    folder: Path, texts: Iterable[str], *, family: str = "bert", pooling: str = "mean"
) -> Path:
    """Random weights, seeded; every word of `texts` is a token. No dropout."""
    words = {word for text in texts for word, _ in Whitespace().pre_tokenize_str(text.lower())}
    vocabulary = {word: place for place, word in enumerate([*SPECIAL, *sorted(words)])}
    transformer = folder / "transformer"
    _tokenizer(vocabulary).save_pretrained(transformer)
    torch.manual_seed(0)
    _transformer(family, len(vocabulary)).save_pretrained(transformer)
    first = Transformer(str(transformer))
    model = SentenceTransformer(
        modules=[first, Pooling(_SHAPE["hidden_size"], pooling_mode=pooling), Normalize()],
        prompts={"query": "query: ", "passage": "passage: "},
        device="cpu",
    )
    model.max_seq_length = 64
    model.save_pretrained(str(folder / "model"), create_model_card=False)
    return folder / "model"


def _tokenizer(vocabulary: dict[str, int]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = {"cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **names)


def _transformer(family: str, pieces: int) -> PreTrainedModel:
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    shape = {**_SHAPE, **dropout, "vocab_size": pieces}
    if family == "bert":
        return BertModel(BertConfig(**shape))
    return XLMRobertaModel(XLMRobertaConfig(**shape))
