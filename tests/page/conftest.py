"""One server and one browser for all tests of the page. Everything but loopback is blocked."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest

from service.api.app import create_app
from service.api.connections import Phase
from service.engine.engine import Engine, open_engine
from service.evaluation.label_works import label_works
from service.settings import Settings
from service.store.key_file import hash_key
from tests.fixtures.library import DOCUMENTS
from tests.fixtures.listening import listening, until
from tests.fixtures.serving import Borrowed

playwright = pytest.importorskip("playwright.sync_api")

EVIL = '<img src=x onerror="alert(1)"><script>alert(2)</script>'
EVIL_ROW = {
    "id": f"evil {EVIL}",
    "title": f"Tides {EVIL}",
    "text": f"Tides follow the moon. {EVIL}",
    "metadata": {f"field {EVIL}": f"value {EVIL}", "tags": [f"tag {EVIL}"]},
}
KEY = "the-right-key"
NOT_FOUND = "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


@dataclass(frozen=True, slots=True)
class Site:
    """A running server; `locked` is the address of another one on the same data, with keys."""

    url: str
    locked: str


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("page"))
    closed = settings.model_copy(update={"api_key_hashes": frozenset({hash_key(KEY)})})
    with open_engine(settings, works=label_works) as engine, serving(engine, settings) as url:
        rows = [
            {"id": d.id, "title": d.title, "text": d.text, "metadata": dict(d.metadata)}
            for d in DOCUMENTS
        ]
        body = {"documents": [*rows, EVIL_ROW]}
        answer = httpx.post(f"{url}/documents?wait=true", json=body, timeout=60)
        assert answer.json()["indexed"]
        with serving(engine, closed) as locked:
            yield Site(url, locked)


@contextmanager
def serving(engine: Engine, settings: Settings) -> Iterator[str]:
    """The address of a server on `engine`, ready."""
    phase = Phase()
    app = create_app(settings, lambda: Borrowed(engine), phase=phase)  # type: ignore[arg-type, return-value]
    with listening(app, settings, phase) as server:
        until(lambda: httpx.get(f"{server.url}/readyz").status_code == 200)
        yield server.url


@pytest.fixture(scope="package")
def browser() -> Iterator["playwright.Browser"]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("the tests of the page need Chromium: sudo apt-get install chromium")
    arguments = ["--no-sandbox", "--disable-dev-shm-usage", f"--host-resolver-rules={NOT_FOUND}"]
    with playwright.sync_playwright() as started:
        made = started.chromium.launch(executable_path=chromium, args=arguments)
        yield made
        made.close()


Open = Callable[..., "playwright.Page"]


@pytest.fixture
def opened(site: Site, browser: "playwright.Browser") -> Iterator[Open]:
    """Opens an address of the page. No other host is asked, and no script is blocked or fails."""
    contexts, complaints = [], []

    def watch(page: "playwright.Page") -> None:
        page.on("request", lambda r: complaints.append(r.url) if is_foreign(r.url) else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on("console", lambda m: complaints.append(m.text) if is_complaint(m) else None)

    def is_foreign(url: str) -> bool:
        return not url.startswith((site.url, site.locked, "data:", "blob:"))

    def open_page(address: str = "", at: str = "", **options: object) -> "playwright.Page":
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(15_000)
        page = context.new_page()
        watch(page)
        page.goto(f"{at or site.url}/{address}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def is_complaint(message: "playwright.ConsoleMessage") -> bool:
    """Whether the console tells of a fault; a browser also writes down each status above 399."""
    return message.type == "error" and "the server responded with a status" not in message.text
