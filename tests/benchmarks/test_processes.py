"""Processes of the benchmark: what they are told, and what a result says where one fails."""

import os
import sys
from pathlib import Path

import pytest

from benchmarks.speed.processes import BenchError, Process, run, without_paths
from benchmarks.speed.systems import VARIANTS, secondpass, settings_of
from service.settings import Settings

ECHO = (
    "import json, os, sys\n"
    "for line in sys.stdin:\n"
    "    print(json.dumps({'got': json.loads(line), 'threads': os.environ.get('OMP_NUM_THREADS')}))"
)


def test_lines_go_there_and_back_without_the_caller_s_tuning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with Process([sys.executable, "-c", ECHO], tmp_path / "log", pipes=True) as process:
        assert process.ask({"query": "đường tròn"}) == {
            "got": {"query": "đường tròn"},
            "threads": None,
        }
        if sys.platform.startswith("linux"):
            assert (process.peak_mb() or 0) > 1


def test_the_end_of_a_process_is_told_in_its_own_words(tmp_path: Path) -> None:
    code = "import sys; sys.exit('no module there')"
    with (
        Process([sys.executable, "-c", code], tmp_path / "log") as process,
        pytest.raises(BenchError, match="status 1: no module there"),
    ):
        process.wait_until(lambda: False, seconds=30)


def test_a_reason_names_no_folder_and_no_host(tmp_path: Path) -> None:
    words = "ERROR: no wheel at https://registry.example/simple/ for " + os.fspath(tmp_path / "x")
    assert without_paths(words) == "ERROR: no wheel at ... for ..."
    code = f"import sys; print({words!r}); sys.exit(3)"
    with pytest.raises(BenchError, match=r"^ERROR: no wheel at \.\.\. for \.\.\.$"):
        run([sys.executable, "-c", code], tmp_path / "log")


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_is_made_of_settings_that_there_are(variant: str, tmp_path: Path) -> None:
    settings = settings_of(variant, tmp_path)
    assert settings.keys() <= Settings(**settings).model_fields_set
    command = secondpass(variant, tmp_path, tmp_path).command
    for name, value in settings.items():
        flag = f"--{name.replace('_', '-')}"
        assert flag in command
        if value is not True:
            assert command[command.index(flag) + 1] == str(value)
