"""The environment: a variable that looks like a setting and is none stops every command."""

import re
from pathlib import Path

import pytest

from service.cli.options import read_settings
from service.environment import OTHER_VARIABLES, check_environment, configured
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


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration file that `SECONDPASS_CONFIG` names."""
    file = tmp_path / "secondpass.toml"
    file.write_text('port = 9001\nlog_format = "json"\nallowed_hosts = ["a.example"]\n')
    monkeypatch.setenv("SECONDPASS_CONFIG", str(file))
    monkeypatch.delenv("SECONDPASS_ALLOWED_HOSTS", raising=False)
    return file


def test_a_flag_wins_over_a_variable_and_a_variable_over_the_file(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = read_settings({})
    assert (found.port, found.log_format) == (9001, "json")
    assert found.allowed_hosts == {"a.example"}
    monkeypatch.setenv("secondpass_port", "9002")
    assert read_settings({}).port == 9002
    assert read_settings({"port": "9003"}).port == 9003


def test_the_flag_names_another_file(config: Path) -> None:
    other = config.with_name("other.toml")
    other.write_text("port = 9004\n")
    found = read_settings({"config": other})
    assert (found.port, found.log_format) == (9004, "text")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot = 1", "'prot': did you mean port?"),
        ("[server]\nport = 1", "'server': docs/configuration.md lists all settings"),
        ("port = ", "is not valid TOML"),
        ("port = 99999", "--port"),
    ],
)
def test_a_wrong_file_is_refused(config: Path, text: str, said: str) -> None:
    config.write_text(text)
    with pytest.raises(InvalidInputError, match=re.escape(said)):
        read_settings({})


def test_a_file_that_is_not_there_is_refused(config: Path) -> None:
    config.unlink()
    with pytest.raises(InvalidInputError, match=r"cannot read .*secondpass\.toml"):
        read_settings({})


def test_a_secret_comes_from_a_file_and_wins_over_the_configuration(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text(f'api_key_hashes = ["{"1" * 64}"]')
    secret = config.with_name("hashes")
    secret.write_text("0" * 64 + "\n")
    monkeypatch.setenv("SECONDPASS_API_KEY_HASHES_FILE", str(secret))
    check_environment()
    assert read_settings({}).api_key_hashes == {"0" * 64}


def test_a_variable_and_its_file_together_are_refused() -> None:
    both = {"SECONDPASS_PORT": "1", "SECONDPASS_PORT_FILE": "port"}
    with pytest.raises(InvalidInputError, match="both set"):
        configured(environment=both)
