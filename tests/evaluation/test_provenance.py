import shutil
import subprocess
from pathlib import Path

import pytest

from service import __version__
from service.evaluation.provenance import commit, provenance

GIT = shutil.which("git")


def git(folder: Path, *arguments: str) -> str:
    assert GIT
    who = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
    done = subprocess.run(
        [GIT, "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_the_head_of_a_report_names_versions_and_seed() -> None:
    head = provenance(7)
    assert (head["version"], head["seed"]) == (__version__, 7)
    assert {"python", "torch", "ir-measures", "scipy"} <= set(head["versions"])


@pytest.mark.skipif(GIT is None, reason="needs git")
def test_the_commit_is_that_of_the_packages_own_checkout(tmp_path: Path) -> None:
    code = tmp_path / "package"
    code.mkdir()
    (code / "__init__.py").write_text("first\n")
    assert commit(code) is None
    git(tmp_path, "init", "--quiet")
    assert commit(code) is None  # somebody's repository, in which the package lies untracked
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    short = git(tmp_path, "rev-parse", "--short", "HEAD")
    assert commit(code) == short
    (code / "__init__.py").write_text("second\n")
    assert commit(code) == f"{short}+dirty"
    deeper = code / "site-packages" / "package"
    deeper.mkdir(parents=True)
    (deeper / "__init__.py").write_text("")
    assert commit(deeper) is None
