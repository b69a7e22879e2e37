import time
from typing import Any

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from service.errors import UnprocessableTextError
from service.models.sources import PreparedModel
from service.text.normalizer import break_up, clean, normalize

_XLM_R = ["<s>", "</s>", "<pad>", "<mask>", "<unk>"]
_BERT = ["[CLS]", "[SEP]", "[PAD]", "[MASK]", "[UNK]"]
_FULL_WIDTH = ["＜ｓ＞", "﹤s﹥", "<ｓ>", "［ＳＥＰ］"]


@pytest.mark.parametrize(
    "token",
    [*_XLM_R, *_BERT, *_FULL_WIDTH, "[unused7]", "<extra_id_3>", "<|im_start|>", "<｜end｜>"],
)
@pytest.mark.parametrize("around", ["the {} tag", "{}", "a{}b", "<{}>", "{0}{0}"])
def test_control_tokens_are_broken_up(token: str, around: str) -> None:
    text = around.format(token)
    broken = break_up(text)
    assert token not in broken
    assert broken.replace(" ", "") == text.replace(" ", "")
    assert break_up(broken) == broken


@pytest.mark.parametrize(
    "text",
    ["<b>", "<u>", "<span>", "a < s > b", "x[0]", "[s]", "[see]", "List<String>", "<s", "s>", "<>"],
)
def test_other_brackets_stay(text: str) -> None:
    assert break_up(text) == text


def test_queries_and_passages_come_out_broken_up_and_clean() -> None:
    text = normalize("query: what does <s> do", max_chars=100).text
    assert text == "what does < s> do"
    assert clean(text) == text


def test_what_breaks_them_up_does_not_count_as_the_users_characters() -> None:
    assert normalize("<s>" * 20, max_chars=60).text == "< s>" * 20
    with pytest.raises(UnprocessableTextError, match="it has 63"):
        normalize("<s>" * 21, max_chars=60)


@pytest.mark.parametrize("token", [*_XLM_R, *_FULL_WIDTH])
def test_e5_reads_no_control_token_in_a_text(token: str, e5: PreparedModel) -> None:
    tokenizer = Tokenizer.from_file(str(e5.folder / "tokenizer.json"))
    control = {tokenizer.token_to_id(name) for name in _XLM_R}
    ids = tokenizer.encode(break_up(f"the {token} tag"), add_special_tokens=False).ids
    assert not control & set(ids)


@pytest.mark.parametrize("token", _BERT)
def test_a_cross_encoder_reads_no_control_token_in_a_text(
    token: str, reranker: PreparedModel
) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(reranker.folder)
    ids = tokenizer(break_up(f"the {token} tag"), add_special_tokens=False)["input_ids"]
    assert not set(tokenizer.all_special_ids) & set(ids)


def test_brackets_without_end_take_linear_time() -> None:
    def seconds(length: int) -> float:
        began = time.process_time()
        break_up("<s" * length)
        break_up("<" + "s" * length)
        break_up("[<" * length)
        return time.process_time() - began

    seconds(1000)
    assert seconds(200_000) < 30 * max(seconds(20_000), 0.005)
