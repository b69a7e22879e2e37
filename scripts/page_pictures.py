"""Takes the pictures in docs/pictures/ of a server with the demo corpus.

    secondpass serve --demo --data-dir /tmp/pictures      # once its job is done:
    python scripts/page_pictures.py [URL] [FOLDER]

Each view is taken wide in light and dark, and on a phone. Needs Chromium.
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[1]
LOOKS = {
    "light": {"viewport": {"width": 1280, "height": 860}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 860}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
}
ANSWERED = "#/search?q=write+rows+to+a+CSV+file"
VIEWS = {
    "start": "#/search",
    "search": ANSWERED,
    "nothing-relevant": "#/search?q=how+long+should+I+boil+an+egg",
    "explain": ANSWERED,
    "documents": "#/documents",
    "edit": "#/documents",
    "collections": "#/collections",
    "evaluate": "#/evaluate",
    "jobs": "#/jobs",
    "key": "#/key",
}


def main(url: str = "http://127.0.0.1:8000", folder: str = str(ROOT / "docs" / "pictures")) -> None:
    """Write every picture into the folder."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-dev-shm-usage"],
        )
        for look in LOOKS:
            for view in VIEWS:
                take(chromium, url, view, look, Path(folder))


def take(browser: Browser, url: str, view: str, look: str, folder: Path) -> None:
    """One picture."""
    page = browser.new_page(**LOOKS[look])  # type: ignore[arg-type]
    page.goto(f"{url}/{VIEWS[view]}")
    page.locator("main > *").first.wait_for(state="attached")
    page.wait_for_timeout(700)
    before(page, view)
    page.wait_for_timeout(300)
    page.screenshot(path=folder / f"{view}-{look}.png")
    page.close()


def before(page: Page, view: str) -> None:
    """What a person does to see it."""
    if view == "explain":
        page.get_by_role("button", name="Why is it here?").first.click()
    if view == "edit":
        page.get_by_role("button", name="Edit").first.click()


if __name__ == "__main__":
    main(*sys.argv[1:])
