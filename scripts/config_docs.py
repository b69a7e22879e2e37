"""Writes docs/configuration.md from `Settings`: `python scripts/config_docs.py PATH`."""

import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import get_args

import typer
from pydantic.fields import FieldInfo

from service.cli.options import flag
from service.durable import write_text
from service.environment import OTHER_VARIABLES
from service.settings import TAGS, Settings, environment_variables

_HEAD = """\
# Configuration

<!-- Generated from service/settings.py by `make docs`; a test keeps the two equal. -->

Every setting has an environment variable and a flag, and a name in a configuration file. The flag
wins, then the variable, then the file, then the default.

```
SECONDPASS_PORT=9000 secondpass serve --data-dir mine
secondpass serve --config secondpass.toml
```

- The file is TOML. Its names are those of the flags, with `_` in place of `-`. `SECONDPASS_CONFIG`
  names it too. An unknown name stops the start, and the error names the nearest one.

  ```
  port = 9000
  data_dir = "mine"
  allowed_hosts = ["search.example"]
  ```

- A variable with `_FILE` at its end names a file that holds the value, such as a mounted secret:
  `SECONDPASS_API_KEY_HASHES_FILE=/run/secrets/hashes`. It wins over the configuration file.
- A value outside its limits stops the start, and the error names it. So does an unknown variable
  that begins with `SECONDPASS_`; the error names the nearest one.
- Relative paths count from the folder in which the command runs.
- *Decides the index*: an index made with another value is refused. *Decides answers*: the value
  changes what a search answers.
- *Per collection*: a collection can have its own value.
"""

_DECIDES = {"index": "the index", "answer": "answers"}
_BOUNDS = {"ge": "from {}", "gt": "above {}", "le": "to {}", "lt": "below {}"}


def markdown() -> str:
    """The page: one list item for each setting, in the order of `Settings`."""
    rows = (_row(name, field) for name, field in Settings.model_fields.items())
    others = (f"- `{name}`: {text}." for name, text in OTHER_VARIABLES.items())
    return "\n".join((_HEAD, *rows, "", "Other variables:", "", *others, ""))


def main(path: Path) -> None:
    """Write the page to `path`."""
    write_text(path, markdown())


def _row(name: str, field: FieldInfo) -> str:
    variables = " or ".join(f"`{variable}`" for variable in environment_variables(name, field))
    tag = TAGS[name]
    facts = [f"Default: {_default(field)}", f"limits: {_limits(field)}"]
    if tag.decides != "nothing":
        facts.append(f"decides {_DECIDES[tag.decides]}")
    if tag.per_collection:
        facts.append("per collection")
    text = f"- {variables}, `{flag(name)}`: {field.description} {'; '.join(facts)}."
    return textwrap.fill(
        text, 100, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value == frozenset():
        return "not set"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, Path) and value.is_relative_to(Path.home()):
        value = Path("~") / value.relative_to(Path.home())
    return f"`{value}`"


def _limits(field: FieldInfo) -> str:
    choices = [value for value in get_args(field.annotation) if isinstance(value, str)]
    if choices:
        return ", ".join(f"`{value}`" for value in choices)
    return " ".join(_bounds(field)) or _kind(field)


def _bounds(field: FieldInfo) -> Iterator[str]:
    for rule in field.metadata:
        for attribute, words in _BOUNDS.items():
            bound = getattr(rule, attribute, None)
            if bound is not None:
                yield words.format(f"{bound:,}" if isinstance(bound, int) else bound)


def _kind(field: FieldInfo) -> str:
    kinds = {field.annotation, *get_args(field.annotation)} - {NoneType}
    if bool in kinds:
        return "`true`, `false`"
    return "a path" if Path in kinds else "text"


if __name__ == "__main__":
    typer.run(main)
