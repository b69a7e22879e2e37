"""User text that looks like a tokenizer's control tokens, such as `<s>` or `[SEP]`.

A tokenizer turns these strings into tokens that steer the model, wherever they occur: a text about
the `<s>` tag would lose the very word it is about. Tokenizers offer options against this, but some
vocabularies hold the strings as ordinary pieces too, so the text itself has to change: a space goes
behind the opening bracket.
"""

import unicodedata

import regex

_ANGLED = (
    r"s|pad|unk|unknown|mask|cls|sep|bos|eos|eod|eop|eot|bot|endoftext|startoftext"
    r"|extra_id_\d+|unused_?\d+|special_?\d+|reserved_\w+"
    r"|start_of_(?:turn|text|image)|end_of_(?:turn|text|image)"
)
_SQUARE = r"cls|sep|pad|unk|mask|bos|eos|unused_?\d+"
_CONTROL_TOKEN = regex.compile(
    rf"</?(?:{_ANGLED})>|\[/?(?:{_SQUARE})\]|<\|[^|]+\|>", regex.IGNORECASE
)
"""Control tokens of published tokenizers: BERT, RoBERTa, XLM-R, T5, GPT, Llama, Qwen, Gemma."""

_LONGEST = 40
"""Characters between the brackets; a longer name is no control token."""

# NFKC, which many tokenizers apply, turns these into the ASCII brackets.
_OPEN, _CLOSE = r"<\[﹤＜［﹇", r">\]﹥＞］﹈"
_BRACKETED = regex.compile(rf"([{_OPEN}])(?=([^\s{_OPEN}]{{1,{_LONGEST}}}?[{_CLOSE}]))")


def break_up(text: str) -> str:
    """The text with a space in each string that is a control token, also in full-width letters.

    Takes linear time. A text that was broken up stays as it is.

    Example:
        break_up("what does the <s> tag do")  # "what does the < s> tag do"
    """
    broken: str = _BRACKETED.sub(_broken, text)
    return broken


def _broken(found: "regex.Match[str]") -> str:
    opening: str = found[1]
    whole = unicodedata.normalize("NFKC", opening + found[2])
    return f"{opening} " if _CONTROL_TOKEN.fullmatch(whole) else opening
