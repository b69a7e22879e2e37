"""The Python blocks of the pages for agents and clients, run as a reader pastes them.

Only the address and the key are put in. A block is skipped where its package is not installed.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.engine.engine import Engine
from service.settings import Settings
from tests.fixtures.serving import KEY, serving

pytestmark = pytest.mark.filterwarnings("ignore")  # those of other packages are not ours to mend

DOCS = Path(__file__).parents[2] / "docs"
BLOCKS = {
    f"{page}-{number}": block
    for page in ("agents.md", "compatible.md")
    for number, block in enumerate(
        re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    )
}
PRINTED = {
    "mcp": "Why there are tides (id: sea-tides",
    "langchain_core": "high",
    "llama_index.core": "tide",
    "haystack": "tide",
    "langchain_openai": "384",
}
"""What the block of each package prints, among others."""


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    """No package reports to its maker, or looks for a proxy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HAYSTACK_TELEMETRY_ENABLED", "False")
        patch.setenv("LANGSMITH_TRACING", "false")
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setenv("SECONDPASS_API_KEY", KEY)
        yield


@pytest.fixture(scope="module")
def open_url(engine: Engine, settings: Settings) -> Iterator[str]:
    """A server without keys."""
    with serving(engine, settings) as address:
        yield address


def package_of(block: str) -> str:
    """What has to be installed besides the client."""
    if found := re.search(r"secondpass_client\.(\w+)", block):
        return {"langchain": "langchain_core", "llama_index": "llama_index.core"}.get(
            found[1], found[1]
        )
    (found,) = re.findall(r"^from (mcp|langchain_openai)\b", block, re.MULTILINE)
    return str(found)


def test_every_package_has_one_block() -> None:
    assert sorted(map(package_of, BLOCKS.values())) == sorted(PRINTED)


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_runs_as_it_is_pasted(
    name: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    block = BLOCKS[name]
    package = package_of(block)
    pytest.importorskip(package, reason=f"{package} is not installed")
    address = request.getfixturevalue("open_url" if package == "mcp" else "url")
    pasted = block.replace("http://127.0.0.1:8000", address).replace("URL", address)
    exec(compile(re.sub(r'"KEY"', repr(KEY), pasted), name, "exec"), {"__name__": "__main__"})
    assert PRINTED[package] in capsys.readouterr().out
