"""A TypeScript client made of the OpenAPI document compiles under `strict`, and works.

Needs npm, and once its packages: they are kept in pytest's cache.
"""

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from service.api.app import create_app
from service.settings import Settings
from tests.fixtures.hash_models import open_hash_engine
from tests.fixtures.hash_server import fill
from tests.fixtures.loopback import serving

SOURCES = Path(__file__).parent / "typescript"
_NO_NETWORK = re.compile(r"ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EAI_AGAIN|ENETUNREACH")


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.fixture(scope="module")
def project(request: pytest.FixtureRequest) -> Path:
    """A folder with the sources and the packages that package-lock.json names."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("npm and node are not installed")
    lock = hashlib.sha256((SOURCES / "package-lock.json").read_bytes()).hexdigest()[:16]
    cache = request.config.cache
    assert cache is not None
    folder = cache.mkdir(f"typescript-{lock}")
    for source in SOURCES.glob("*"):
        shutil.copy(source, folder)
    if not (folder / "installed").exists():
        done = run(npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", cwd=folder)
        if done.returncode and _NO_NETWORK.search(done.stderr):
            pytest.skip("the npm registry cannot be reached")
        assert done.returncode == 0, done.stderr
        (folder / "installed").touch()
    return folder


def test_the_generated_client_compiles_and_works(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    tools = project / "node_modules" / ".bin"
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"))
    app = create_app(settings, lambda: open_hash_engine(settings))
    (project / "openapi.json").write_text(json.dumps(app.openapi()), encoding="utf-8")
    generate = ("openapi.json", "--default-non-nullable", "false", "-o", "schema.d.ts")
    made = run(tools / "openapi-typescript", *generate, cwd=project)
    assert made.returncode == 0, made.stderr
    compiled = run(tools / "tsc", "--project", ".", cwd=project)
    assert compiled.returncode == 0, compiled.stdout
    with serving(app) as address, httpx.Client(base_url=address) as client:
        fill(client)
        ran = run("node", "out/client.js", address, cwd=project)
    assert (ran.returncode, ran.stdout) == (0, "done\n"), ran.stderr
