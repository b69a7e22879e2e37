"""Where the environments of other packages get torch from."""

from pathlib import Path

import pytest

from benchmarks.speed.environments import torch_index


@pytest.mark.parametrize(
    ("stamp", "options"),
    [
        (
            "torch==2.0 https://index.example/cpu\n",
            ["--extra-index-url", "https://index.example/cpu"],
        ),
        ("torch==2.0 \n", []),
        (None, []),
    ],
)
def test_torch_comes_from_where_the_projects_own_came(
    tmp_path: Path, stamp: str | None, options: list[str]
) -> None:
    if stamp is not None:
        (tmp_path / ".torch").write_text(stamp)
    assert torch_index(tmp_path) == options
