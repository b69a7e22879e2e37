"""`make setup` and `make serve`: what they say when something is missing, when they do nothing.

The environment's programs are stand-ins here; a fresh clone and `make docker-check` run real ones.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

ROOT = Path(__file__).parents[2]
COPIED = ["Makefile", "clients", "scripts", "pyproject.toml", "requirements"]
TOOLS = [
    "awk", "bash", "cat", "cksum", "compgen", "cut", "df", "dirname", "grep", "make", "mkdir", "rm",
    "sed", "sh", "tail", "uname",
]  # fmt: skip
CPU_INDEX = "https://download.pytorch.org/whl/cpu"

PIP = r"""#!/bin/sh
# The environment's Python, of which only pip is asked, and whether torch is a CUDA build.
[ "$1" = -c ] && exit "${IS_CPU_BUILD:-1}"
echo "$*" >>"$CALLS"
case "$*" in
*--version*) exit 0 ;;
*install*)
    [ -z "${PIP_SAYS:-}" ] && exit 0
    echo "$PIP_SAYS" >"$PIP_LOG"
    exit 1 ;;
esac
"""
PIP_CHECK = "-m pip --version"
COMMAND = '#!/bin/sh\necho "secondpass $*" >>"$CALLS"\nexit "${COMMAND_ENDS:-0}"\n'


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


class Checkout:
    """A clone whose environment is made of stand-ins, in a folder with a space in its name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "a clone"
        self.calls = folder / "calls"
        self.bin = folder / "bin"
        self.cache = folder / "cache"
        self.cache.mkdir()
        self.bin.mkdir()
        for tool in TOOLS:
            if found := shutil.which(tool):
                (self.bin / tool).symlink_to(found)
        self.folder.mkdir()
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, self.folder / name)
        models = self.folder / "service" / "models"
        models.mkdir(parents=True)
        (models / "registry.py").write_text("# the models\n")
        program(self.folder / ".venv" / "bin" / "python", PIP)
        self.torch = self.folder / ".venv" / "lib" / "python3.11" / "site-packages" / "torch"
        self.torch.mkdir(parents=True)
        program(self.folder / ".venv" / "bin" / "secondpass", COMMAND)

    def make(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        self.calls.write_text("")
        environment = {
            "TORCH": "default",
            "PATH": str(self.bin),
            "HOME": str(self.folder),
            "CALLS": str(self.calls),
            "SECONDPASS_CACHE_DIR": str(self.cache),
            "PYTHON": sys.executable,
        } | environment
        return subprocess.run(
            ["make", *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def called(self) -> list[str]:
        """Whether packages were installed, and which commands ran, in order."""
        lines = [line for line in self.calls.read_text().splitlines() if line != PIP_CHECK]
        pip = [line for line in lines if line.startswith("-m pip ")]
        return ["install"] * bool(pip) + [line for line in lines if line not in pip]

    def pip(self) -> list[str]:
        """What pip was asked for, in order."""
        lines = self.calls.read_text().splitlines()
        return [line for line in lines if " install " in line or " download " in line]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_setup_installs_and_prepares_once(checkout: Checkout) -> None:
    first = checkout.make("setup")
    assert first.returncode == 0, first.stderr
    assert checkout.called() == ["install", "secondpass models prepare"]
    torch, locked_torch, packages, project = checkout.pip()
    assert " download " in torch
    for line, lock in [(locked_torch, "torch"), (packages, "dev")]:
        assert "--no-deps --require-hashes" in line
        assert line.endswith(f"-r requirements/{lock}.txt")
    assert project.endswith("install --no-deps --no-build-isolation -e clients/python -e .")
    second = checkout.make("setup")
    assert (second.returncode, checkout.called()) == (0, [])


@pytest.mark.parametrize(
    "name",
    [
        "pyproject.toml",
        "clients/python/pyproject.toml",
        "requirements/dev.txt",
        "scripts/install.sh",
        "Makefile",
    ],
)
def test_a_changed_file_installs_again(checkout: Checkout, name: str) -> None:
    checkout.make("setup")
    with (checkout.folder / name).open("a") as file:
        file.write("# changed\n")
    checkout.make("setup")
    assert "install" in checkout.called()


@pytest.mark.parametrize("change", ["registry", "cache gone", "other encoder"])
def test_models_are_prepared_again_when_they_may_differ(checkout: Checkout, change: str) -> None:
    checkout.make("setup")
    environment = {}
    if change == "registry":
        (checkout.folder / "service" / "models" / "registry.py").write_text("# others\n")
    elif change == "cache gone":
        checkout.cache.rmdir()
    else:
        environment["SECONDPASS_ENCODER"] = "another"
    checkout.make("setup", **environment)
    assert checkout.called() == ["secondpass models prepare"]


def test_an_install_that_failed_is_taken_up_again(checkout: Checkout) -> None:
    assert checkout.make("setup", PIP_SAYS="killed").returncode != 0
    assert checkout.called() == ["install"]
    assert checkout.make("setup").returncode == 0
    assert checkout.called() == ["install", "secondpass models prepare"]


def test_models_that_failed_are_taken_up_again_without_an_install(checkout: Checkout) -> None:
    failed = checkout.make("setup", COMMAND_ENDS="1")
    assert failed.returncode != 0
    assert "the models could not be prepared" in failed.stderr
    assert checkout.make("setup").returncode == 0
    assert checkout.called() == ["secondpass models prepare"]


def test_the_cache_folder_that_setup_assumes_is_the_default_of_the_settings() -> None:
    script = (ROOT / "scripts" / "setup.sh").read_text()
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert "${SECONDPASS_CACHE_DIR:-$HOME/.cache/secondpass}" in script
    item = page[page.index("`SECONDPASS_CACHE_DIR`") :].partition("\n- ")[0]
    assert "Default: `~/.cache/secondpass`" in " ".join(item.split())


@pytest.mark.parametrize(
    ("pip_says", "explained"),
    [
        ("error: [Errno 2] No such file or directory: 'gcc'", "needs a C compiler"),
        ("error: command '/usr/bin/x86_64-linux-gnu-gcc' failed with exit code 1", "C compiler"),
        ("ERROR: Could not install packages: [Errno 28] No space left on device", "disk is full"),
        ("ERROR: No matching distribution found for faiss-cpu==1.15.1", "not have that version"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "not the one that requirements/ names"),
        ("HTTPSConnectionPool: Max retries exceeded\nNo matching distribution", "did not answer"),
    ],
)
def test_what_pip_says_is_put_in_plain_words(
    checkout: Checkout, pip_says: str, explained: str
) -> None:
    done = checkout.make("setup", PIP_SAYS=pip_says)
    assert done.returncode != 0
    assert explained in done.stderr


def serve_cpu_index(checkout: Checkout, url: str) -> None:
    """Have the scripts ask this address in place of PyTorch's."""
    script = checkout.folder / "scripts" / "torch_index.sh"
    script.write_text(script.read_text().replace(CPU_INDEX, url))


@pytest.fixture
def cpu_index() -> Iterator[str]:
    """An index that answers every request."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is one build")


@ON_LINUX
def test_torch_comes_from_the_cpu_index_where_it_answers(
    checkout: Checkout, cpu_index: str
) -> None:
    serve_cpu_index(checkout, cpu_index)
    done = checkout.make("setup", TORCH="")
    assert done.returncode == 0, done.stderr
    assert f"--index-url {cpu_index} torch==" in checkout.pip()[0]


@ON_LINUX
def test_torch_comes_from_the_default_index_where_the_other_is_silent(
    checkout: Checkout, taken_port: int
) -> None:
    """The port takes connections and never answers: two seconds are enough to know."""
    serve_cpu_index(checkout, f"http://127.0.0.1:{taken_port}")
    begin = time.monotonic()
    done = checkout.make("setup", TORCH="")
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - begin > 2
    assert "--index-url" not in checkout.pip()[0]
    assert checkout.make("setup", TORCH="cpu").returncode != 0


def test_the_chosen_torch_stays_until_another_is_chosen(checkout: Checkout, cpu_index: str) -> None:
    serve_cpu_index(checkout, cpu_index)
    assert checkout.make("setup", TORCH="default").returncode == 0
    assert "--index-url" not in checkout.pip()[0]
    checkout.make("setup", TORCH="")
    assert checkout.called() == []
    checkout.make("setup", TORCH="cpu")
    assert f"--index-url {cpu_index} torch==" in checkout.pip()[0]
    checkout.make("setup", TORCH="")
    assert checkout.called() == []


def test_what_a_cuda_build_needs_is_installed_with_it_alone(checkout: Checkout) -> None:
    checkout.make("setup", IS_CPU_BUILD="1")
    assert not any("requirements/cuda.txt" in line for line in checkout.pip())
    (checkout.folder / ".venv" / ".packages").unlink()
    checkout.make("setup", IS_CPU_BUILD="0")
    assert any("requirements/cuda.txt" in line for line in checkout.pip())


def test_an_unknown_choice_of_torch_is_said(checkout: Checkout) -> None:
    done = checkout.make("setup", TORCH="cuda")
    assert done.returncode != 0
    assert "TORCH=cuda is neither cpu nor default" in done.stderr


def test_every_file_names_the_same_index_of_cpu_builds() -> None:
    for name in ["scripts/lock.py", "scripts/torch_index.sh", "Dockerfile", "docker-compose.yml"]:
        assert re.findall(r"https://[^\s\"}]*pytorch[^\s\"}]*", (ROOT / name).read_text()) == [
            CPU_INDEX
        ]


def test_no_python_is_said(checkout: Checkout) -> None:
    done = checkout.make("setup", PYTHON="")
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed, and none was found" in done.stderr
    assert checkout.called() == []


def test_an_old_python_is_said(checkout: Checkout) -> None:
    program(
        checkout.bin / "python3", '#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2\nexit 1'
    )
    done = checkout.make("setup", PYTHON="")
    assert "none was found (Python 3.9.2)" in done.stderr
    assert "older than Python 3.11" in checkout.make("setup", PYTHON="python3").stderr


def test_a_newer_python_beside_an_old_one_is_found(checkout: Checkout) -> None:
    program(checkout.bin / "python3", "#!/bin/sh\nexit 1")
    (checkout.bin / "python3.11").symlink_to(sys.executable)
    assert checkout.make("setup", PYTHON="").returncode == 0


def test_a_python_without_venv_is_said(checkout: Checkout) -> None:
    shutil.rmtree(checkout.folder / ".venv")
    bare = '#!/bin/sh\ncase "$*" in *ensurepip*) exit 1 ;; esac'
    program(checkout.bin / "python3", bare)
    done = checkout.make("setup", PYTHON="")
    assert done.returncode != 0
    assert "sudo apt install python3-venv" in done.stderr


def test_a_full_disk_is_said_before_the_download(checkout: Checkout) -> None:
    checkout.torch.rmdir()
    (checkout.bin / "df").unlink()
    program(checkout.bin / "df", "#!/bin/sh\necho; echo disk 5000000 4900000 102400 98% /")
    done = checkout.make("setup")
    assert done.returncode != 0
    assert "has 100 MB free" in done.stderr
    assert checkout.called() == []


def test_serve_brings_the_demo_corpus(checkout: Checkout) -> None:
    done = checkout.make("serve", "HOST=127.0.0.2", "PORT=0", "DATA_DIR=my data")
    assert done.returncode == 0, done.stderr
    serve = "secondpass serve --demo --host 127.0.0.2 --port 0 --data-dir my data"
    assert checkout.called()[-1] == serve


def test_serve_takes_port_and_folder_from_the_environment_but_not_the_host(
    checkout: Checkout,
) -> None:
    done = checkout.make("serve", HOST="my-machine", PORT="0", SECONDPASS_DATA_DIR="there")
    serve = "secondpass serve --demo --host 127.0.0.1 --port 0 --data-dir there"
    assert checkout.called()[-1] == serve
    assert "make serve HOST=my-machine" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["PORT=70000"], "PORT=70000 is not a port"),
        (["PORT=http"], "PORT=http is not a port"),
        (["PORT=0", "HOST=nowhere.invalid"], "HOST=nowhere.invalid is not an address"),
        (["PORT=0", "HOST=192.0.2.1"], "cannot listen on 192.0.2.1"),
        (["PORT=0", "HOST=0.0.0.0"], "SECONDPASS_ALLOW_ANONYMOUS=1"),
    ],
)
def test_a_place_to_listen_that_cannot_be_is_said_before_the_install(
    checkout: Checkout, arguments: list[str], said: str
) -> None:
    done = checkout.make("serve", *arguments)
    assert done.returncode != 0
    assert said in done.stderr
    assert checkout.called() == []


@pytest.mark.parametrize("name", ["SECONDPASS_ALLOW_ANONYMOUS", "SECONDPASS_API_KEY_HASHES"])
def test_keys_or_a_word_open_an_address_that_others_reach(checkout: Checkout, name: str) -> None:
    done = checkout.make("serve", "PORT=0", "HOST=0.0.0.0", **{name: "1"})
    assert done.returncode == 0, done.stderr
    assert "secondpass serve --demo --host 0.0.0.0" in checkout.called()[-1]


def test_a_taken_port_is_said_before_the_install(checkout: Checkout, taken_port: int) -> None:
    done = checkout.make("serve", f"PORT={taken_port}")
    assert done.returncode != 0
    assert f"port {taken_port} on 127.0.0.1 is taken" in done.stderr
    assert f"make serve PORT={taken_port + 1}" in done.stderr
    assert checkout.called() == []


def test_help_names_every_target() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    phony = next(
        line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith(".PHONY:")
    )
    for target in phony.split()[1:]:
        assert f"make {target}" in done.stdout


def test_the_check_of_a_change_is_make_test() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().endswith("\nexec make test </dev/null\n")


def test_make_test_runs_every_check() -> None:
    done = subprocess.run(
        ["make", "--dry-run", "test"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for command in [
        "ruff format --check",
        "ruff check",
        "mypy",
        "lint-imports",
        "pytest -n 2 --dist loadfile --cov",
    ]:
        assert command in done.stdout
