"""Every view of the page, as its own list names them, with something to see."""

import re
from pathlib import Path

from playwright.sync_api import Page, expect

import service.api

FOLDER = Path(service.api.__file__).parent / "page"
NAMES = re.findall(r'name: "(\w+)"', (FOLDER / "js" / "views.js").read_text(encoding="utf-8"))
QUERY = "#/search?q=why+are+there+tides"
ADDRESSES = [QUERY, "#/documents?id=sea-tides", *(f"#/{name}" for name in NAMES)]


def wait(page: Page) -> None:
    """Until the view has what it asked the server for."""
    expect(page.locator("main > *").first).to_be_attached()
    expect(page.locator("[aria-busy]")).to_have_count(0)
    page.wait_for_load_state("networkidle") if "jobs" not in page.url else None
