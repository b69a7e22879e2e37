"""The lock: valid for every promised Python, complete, and checked by pip before it installs."""

import base64
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = ["run", "dev", "torch", "cuda"]
PYTHONS = ["3.11.2", "3.12.0", "3.13.0", "3.14.0"]
"""Debian 12's own Python, and the first release of each later one."""


def lines_of(name: str) -> list[str]:
    """The requirements of a file, each with its hashes."""
    text = (ROOT / name).read_text().replace("\\\n", "")
    return [line for line in text.splitlines() if not line.startswith("#")]


def pins(name: str) -> dict[str, Requirement]:
    found = (Requirement(line.split(" --hash")[0]) for line in lines_of(name))
    return {canonicalize_name(requirement.name): requirement for requirement in found}


@pytest.fixture(scope="module")
def lock() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lock", ROOT / "scripts" / "lock.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_oldest_promised_python_is_the_oldest_tried() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    promised = SpecifierSet(project["requires-python"])
    assert all(python in promised for python in PYTHONS)
    assert "3.10.99" not in promised


@pytest.mark.parametrize("python", PYTHONS)
def test_no_pinned_package_that_is_installed_refuses_a_promised_python(python: str) -> None:
    for name, requirement in pins("constraints.txt").items():
        marker = requirement.marker
        if marker and not marker.evaluate({"python_full_version": python}):
            continue
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue
        if requirement.specifier.contains(package.version):
            wanted = package.metadata["Requires-Python"] or ""
            assert python in SpecifierSet(wanted), f"{requirement} needs Python {wanted}"


@pytest.mark.parametrize("python", PYTHONS)
def test_the_project_resolves_to_the_lock_on_a_promised_python(python: str) -> None:
    """For Linux, with ready-made packages alone, as the package index lists them."""
    command = [str(Path(sys.executable).with_name("uv")), "pip", "compile", "pyproject.toml"]
    command += ["--extra", "dev", "--constraint", "constraints.txt", "--python-version", python]
    command += ["--python-platform", "x86_64-manylinux_2_28", "--only-binary", ":all:"]
    command += ["--no-header", "--no-annotate", "--no-emit-package", "secondpass-client"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if "failed to fetch" in done.stderr.lower():
        pytest.skip("the package index does not answer")
    assert done.returncode == 0, done.stderr
    locked = {name: pin for file in LOCKS for name, pin in pins(f"requirements/{file}.txt").items()}
    for line in done.stdout.splitlines():
        found = Requirement(line)
        assert locked[canonicalize_name(found.name)].specifier == found.specifier


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_a_version_and_a_hash(name: str) -> None:
    constraints = pins("constraints.txt")
    for line in lines_of(f"requirements/{name}.txt"):
        assert "--hash=sha256:" in line
    for package, requirement in pins(f"requirements/{name}.txt").items():
        assert requirement.specifier == constraints[package].specifier


def test_each_package_is_in_the_lock_that_needs_it() -> None:
    every = {name: pins(f"requirements/{name}.txt").keys() for name in LOCKS}
    assert every["torch"] == {"torch"}
    assert every["run"] < every["dev"]
    assert not every["dev"] & (every["cuda"] | every["torch"])
    assert every["dev"] | every["cuda"] | every["torch"] == pins("constraints.txt").keys()
    assert "pytest" not in every["run"]


def test_hashes_of_the_cpu_builds_are_read_from_pytorchs_page(lock: ModuleType) -> None:
    page = "".join(
        f'<a href="https://files.example/whl/cpu/{name}#sha256={digit * 64}">\n'
        for name, digit in [
            ("torch-2.13.0%2Bcpu-cp311-cp311-manylinux_2_28_x86_64.whl", "a"),
            ("torch-2.13.0%2Bcpu-cp314-cp314t-manylinux_2_28_aarch64.whl", "b"),
            ("torch-2.13.0%2Bcpu-cp311-cp311-win_amd64.whl", "c"),
            ("torch-2.13.0-cp311-cp311-macosx_14_0_arm64.whl", "d"),
            ("torch-2.13.1%2Bcpu-cp311-cp311-manylinux_2_28_x86_64.whl", "e"),
        ]
    )
    locked = f"# made\ntorch==2.13.0 \\\n    --hash=sha256:{'1' * 64}\n"
    digests = lock.cpu_digests(locked, "", page)
    assert digests == ["a" * 64, "b" * 64]
    assert lock.with_digests(locked, digests) == (
        "# made\ntorch==2.13.0 \\\n"
        f"    --hash=sha256:{'1' * 64} \\\n"
        f"    --hash=sha256:{'a' * 64} \\\n"
        f"    --hash=sha256:{'b' * 64}\n"
    )


def test_without_pytorchs_page_the_hashes_stay_for_the_same_version_alone(lock: ModuleType) -> None:
    before = f"torch==2.13.0 \\\n    --hash=sha256:{'a' * 64}\n"
    assert lock.cpu_digests("torch==2.13.0 \\\n", before, "") == ["a" * 64]
    with pytest.raises(SystemExit, match=r"torch 2\.14\.0"):
        lock.cpu_digests("torch==2.14.0 \\\n", before, "")


def wheel(folder: Path, name: str, version: str, *needs: str) -> Path:
    """A package without a module."""
    folder.mkdir(exist_ok=True)
    file = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    contents = {
        f"{info}/METADATA": metadata + "".join(f"Requires-Dist: {need}\n" for need in needs),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip('=')},{len(text)}\n"
        for path, text in contents.items()
    )
    with zipfile.ZipFile(file, "w") as archive:
        for path, text in contents.items():
            archive.writestr(path, text)
        archive.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")
    return file


class Project:
    """A clone with a lock of small packages, which lie in an index of this machine."""

    def __init__(self, folder: Path, venv: Path) -> None:
        self.folder = folder
        self.venv = folder / "venv"
        shutil.copytree(venv, self.venv, symlinks=True)
        self.index = folder / "index"
        self.cpu = folder / "cpu"
        script = folder / "scripts" / "install.sh"
        script.parent.mkdir()
        script.write_text((ROOT / "scripts" / "install.sh").read_text())
        (folder / "requirements").mkdir()
        self.cuda_build = self._indexed("torch", "2.0", "nvidia-thing==1.0")
        self.cpu_build = wheel(self.cpu, "torch", "2.0+cpu")
        self._lock("torch", "torch==2.0", self.cuda_build, self.cpu_build)
        self._lock("cuda", "nvidia_thing==1.0", self._indexed("nvidia_thing", "1.0"))
        self.other = self._indexed("other", "3.0")
        self._lock("run", "other==3.0", self.other)

    def _indexed(self, name: str, version: str, *needs: str) -> Path:
        """A package on a page that states its hash, as package indexes do."""
        folder = self.index / name.replace("_", "-")
        folder.mkdir(parents=True)
        file = wheel(folder, name, version, *needs)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        page = f'<!DOCTYPE html><a href="{file.name}#sha256={digest}">{file.name}</a>'
        (folder / "index.html").write_text(page)
        return file

    def _lock(self, name: str, pin: str, *files: Path) -> None:
        digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
        hashes = "".join(f" \\\n    --hash=sha256:{digest}" for digest in digests)
        (self.folder / "requirements" / f"{name}.txt").write_text(f"{pin}{hashes}\n")

    def install(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", self.folder / "scripts" / "install.sh", self.venv, "run"],
            env={
                "PATH": os.environ["PATH"],
                "PIP_CONFIG_FILE": os.devnull,
                "PIP_INDEX_URL": self.index.as_uri(),
            }
            | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def installed(self) -> set[str]:
        (packages,) = self.venv.glob("lib/python*/site-packages")
        names = {path.name.removesuffix(".dist-info") for path in packages.glob("*.dist-info")}
        return {name for name in names if not name.startswith(("pip-", "setuptools-"))}


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return folder


@pytest.fixture
def project(tmp_path: Path, venv: Path) -> Project:
    return Project(tmp_path, venv)


def test_a_cpu_build_in_a_folder_is_taken_before_a_cuda_build_of_the_index(
    project: Project,
) -> None:
    done = project.install(PIP_FIND_LINKS=str(project.cpu))
    assert done.returncode == 0, done.stderr
    assert project.installed() == {"torch-2.0+cpu", "other-3.0"}


def test_another_index_for_torch_replaces_the_build_and_brings_what_it_needs(
    project: Project,
) -> None:
    (project.cpu / "torch").mkdir()
    (project.cpu / "torch" / "index.html").write_text(
        f'<!DOCTYPE html><a href="../{project.cpu_build.name}">{project.cpu_build.name}</a>'
    )
    done = project.install(TORCH_INDEX_URL=project.cpu.as_uri())
    assert done.returncode == 0, done.stderr
    assert project.installed() == {"torch-2.0+cpu", "other-3.0"}
    done = project.install()
    assert done.returncode == 0, done.stderr
    assert project.installed() == {"torch-2.0", "nvidia_thing-1.0", "other-3.0"}
    assert "Collecting" not in project.install().stdout


@pytest.mark.parametrize("which", ["cpu_build", "other"])
def test_a_file_with_another_hash_is_not_installed(project: Project, which: str) -> None:
    file: Path = getattr(project, which)
    wheel(file.parent, *file.name.split("-")[:2], "evil")
    (project.index / "other" / "index.html").write_text(
        f'<!DOCTYPE html><a href="{project.other.name}">{project.other.name}</a>'
    )
    done = project.install(PIP_FIND_LINKS=str(project.cpu))
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert file.name.removesuffix("-py3-none-any.whl") not in project.installed()
