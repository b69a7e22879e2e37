"""The environment: a variable that looks like a setting and is none stops every command."""

import re
from pathlib import Path

import pytest

from service.environment import OTHER_VARIABLES, check_environment
from service.errors import InvalidInputError
from service.settings import Settings, environment_variables

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("SECONDPASS_TIMOUT_MS", "SECONDPASS_TIMEOUT_MS"),
        ("SECONDPASS_API_KEY_HASH", "SECONDPASS_API_KEY_HASHES"),
        ("SECONDPASS_API_KEYS", "SECONDPASS_API_KEY"),
        ("SECONDPASS_DATADIR", "SECONDPASS_DATA_DIR"),
        ("secondpass_prot", "SECONDPASS_PORT"),
        ("SECONDPASS_RERANKERS", "SECONDPASS_RERANKER"),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_nearest_one(wrong: str, right: str) -> None:
    message = re.escape(f"{wrong}: did you mean {right}?")
    with pytest.raises(InvalidInputError, match=message):
        check_environment({"PATH": "/bin", wrong: "1"})


def test_all_unknown_variables_are_named_at_once_without_their_values() -> None:
    with pytest.raises(InvalidInputError) as found:
        check_environment({"SECONDPASS_XYZZY": "s3cret", "SECONDPASS_": "1"})
    assert "SECONDPASS_XYZZY: docs/configuration.md" in str(found.value)
    assert "SECONDPASS_: " in str(found.value)
    assert "s3cret" not in str(found.value)


def test_every_setting_in_any_case_and_other_programs_variables_pass() -> None:
    names = [
        variable
        for name, field in Settings.model_fields.items()
        for variable in environment_variables(name, field)
    ]
    check_environment(dict.fromkeys([*names, *map(str.lower, names), "PASS_X", "SECOND"], "1"))


def test_what_scripts_and_the_container_use_passes() -> None:
    files = [*ROOT.glob("docker/*"), *ROOT.glob("scripts/*"), *ROOT.glob(".ci/*")]
    files += [ROOT / name for name in ("Makefile", "Dockerfile", "docker-compose.yml")]
    texts = [file.read_text(encoding="utf-8") for file in files if file.is_file()]
    used = {name for text in texts for name in re.findall(r"\bSECONDPASS_[A-Z_]*[A-Z]\b", text)}
    assert "SECONDPASS_DEMO" in used
    assert "SECONDPASS_DEMO" in OTHER_VARIABLES
    check_environment(dict.fromkeys(used, "1"))


def test_what_kubernetes_adds_for_a_service_of_this_name_passes() -> None:
    names = ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT_8000_TCP_ADDR")
    check_environment({f"SECONDPASS_{name}": "tcp://10.0.0.1:8000" for name in names})
