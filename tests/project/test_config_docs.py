import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import config_docs
from service.settings import Settings, environment_variables

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "configuration.md"


def test_the_page_is_what_the_settings_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == config_docs.markdown(), "run `make docs`"


def test_every_setting_has_one_item_with_a_description() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert f"`{config_docs.flag(name)}`: {field.description.split()[0]}" in one_line()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_variable_of_the_page_sets_its_setting(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in os.environ:
        if variable.startswith(("SECONDPASS_", "HF_")):
            monkeypatch.delenv(variable)
    for variable in environment_variables(name, Settings.model_fields[name]):
        with monkeypatch.context() as patch:
            before = getattr(Settings(), name)
            patch.setenv(variable, another_value(name, before))
            assert getattr(Settings(), name) != before


def another_value(name: str, value: object) -> str:
    """A value within the limits that is not the default, as the environment would carry it."""
    named = {
        "log_level": "debug",
        "log_format": "json",
        "api_key_hashes": "0" * 64,
        "cors_origins": "https://example.org",
        "root_path": "/search",
        "confidence_high": "0.9",
        "embedding_dimensions": "256",
        "max_reranks": "9",
        "search_mode": "hybrid",
        "encoder_query_backend": "torch-bf16",
        "encoder_passage_backend": "torch-bf16",
        "rerank_backend": "torch",
        "hybrid_fusion": "rrf",
    }
    if name in named:
        return named[name]
    if isinstance(value, bool):
        return "false" if value else "true"
    if isinstance(value, int):
        return str(value + 1)
    return "0.25"


def one_line() -> str:
    return " ".join(config_docs.markdown().split())


def test_limits_and_defaults_are_shown() -> None:
    page = one_line()
    assert "listens on. Default: `8000`; limits: from 0 to 65,535." in page
    assert "Default: `~/.cache/secondpass`; limits: a path." in page
    assert "`SECONDPASS_HUB_OFFLINE` or `HF_HUB_OFFLINE`, `--hub-offline`: " in page
    assert "Default: `info`; limits: `debug`, `info`, `warning`, `error`." in page
    assert "Default: `e5-small`; limits: text; decides the index; per collection." in page


def test_the_module_writes_the_page(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "config_docs.py"), str(path)], check=True
    )
    assert path.read_text(encoding="utf-8") == config_docs.markdown()
