"""Both wheels, built and installed into environments of their own, used from another folder."""

import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from secondpass_client import SearchClient

ROOT = Path(__file__).parents[2]
SOURCES = ["LICENSE", "README.md", "clients", "pyproject.toml", "service"]
NOT_FOR_A_CLIENT = {"faiss", "fastapi", "numpy", "service", "torch", "transformers", "uvicorn"}

pytestmark = pytest.mark.slow

ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Installed:
    """An environment with one of the wheels, and an empty folder to work in."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.cwd = folder / "venv" / "bin", folder / "elsewhere"
        self.cwd.mkdir(parents=True)
        run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)

    def pip_install(self, *arguments: str | Path) -> None:
        run(self.bin / "python", "-m", "pip", "install", *arguments, cwd=self.cwd)

    def python(self, code: str) -> str:
        return run(self.bin / "python", "-c", code, cwd=self.cwd)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheels by the name of their package, built from a copy of the sources."""
    folder = tmp_path_factory.mktemp("wheels")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    run(*pip, "--wheel-dir", "dist", "./clients/python", ".", cwd=folder)
    return {path.name.split("-")[0]: path for path in (folder / "dist").iterdir()}


@pytest.fixture(scope="module")
def client(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The client with what it asks for, and nothing else."""
    made = Installed(tmp_path_factory.mktemp("client"))
    made.pip_install(wheels["secondpass_client"])
    return made


@pytest.fixture(scope="module")
def service(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The service and the client; what they ask for is found in the environment of the tests."""
    made = Installed(tmp_path_factory.mktemp("service"))
    made.pip_install("--no-deps", *wheels.values())
    (packages,) = made.bin.parent.glob("lib/python*/site-packages")
    (packages / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return made


def test_the_client_brings_neither_a_model_nor_a_server(client: Installed) -> None:
    code = "import sys, secondpass_client; print(*sorted(sys.modules))"
    loaded = client.python(code).split()
    assert "secondpass_client" in loaded
    assert NOT_FOR_A_CLIENT & set(loaded) == set()
    installed = client.python(
        "from importlib.metadata import distributions\n"
        "print(*(found.name.lower() for found in distributions()))"
    )
    assert NOT_FOR_A_CLIENT & set(installed.split()) == set()


def test_the_client_is_typed(client: Installed) -> None:
    code = "import secondpass_client as c, pathlib; print(pathlib.Path(c.__file__).parent)"
    package = Path(client.python(code).strip())
    assert package.is_relative_to(client.bin.parent)
    assert (package / "py.typed").exists()


def test_the_example_of_the_client_is_answered_by_the_service(
    client: Installed, service: Installed
) -> None:
    text = (ROOT / "clients" / "python" / "README.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 2
    with serving(service) as url:
        blocking, asynchronous = (
            client.python(example.replace("http://127.0.0.1:8000", url)) for example in examples
        )
    assert re.fullmatch(r"1 \w+ tides\n", blocking)
    assert asynchronous.startswith("The tide rises")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(service: Installed) -> Iterator[str]:
    """`secondpass serve` as it was installed, ready."""
    where = service.python("import service, secondpass_client as c; print(service, c)")
    assert where.count(str(service.bin.parent)) == 2
    port = free_port()
    command = [service.bin / "secondpass", "serve", "--port", str(port), "--data-dir", "data"]
    server = subprocess.Popen(command, cwd=service.cwd, env=ENVIRONMENT)
    try:
        with SearchClient(url := f"http://127.0.0.1:{port}") as asking:
            end = time.monotonic() + 120
            while not asking.ready():
                assert server.poll() is None, "the server ended"
                assert time.monotonic() < end, "the server is not ready"
                time.sleep(0.2)
        yield url
    finally:
        server.terminate()
        server.wait(timeout=30)
