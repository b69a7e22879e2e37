"""Every view is for everyone: axe in light and dark, phones, the keyboard alone."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.page.conftest import Open
from tests.page.views import ADDRESSES, NAMES, QUERY, wait

SERIOUS = {"serious", "critical"}


def faults(page: Page) -> list[str]:
    """What axe finds, with the elements."""
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['html'][:200]}"
        for one in found
        if one["impact"] in SERIOUS
        for node in one["nodes"]
    ]


def test_all_views_are_tried() -> None:
    assert {"search", "documents", "collections", "jobs", "key"} <= set(NAMES)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("address", ADDRESSES)
def test_axe_finds_nothing_serious(opened: Open, address: str, scheme: str) -> None:
    page = opened(address, color_scheme=scheme)
    wait(page)
    assert faults(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("address", "button"),
    [
        (QUERY, "Why is it here"),
        ("#/documents", "Add a document"),
        ("#/documents", "Delete"),
        ("#/collections", "New collection"),
        ("#/jobs", "Upload a file"),
        ("#/key", "Use another key"),
    ],
)
def test_axe_finds_nothing_serious_in_dialogs(
    opened: Open, address: str, button: str, scheme: str
) -> None:
    page = opened(address, color_scheme=scheme)
    page.get_by_role("button", name=button).first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert faults(page) == []


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_phone_needs_no_sideways_scroll(opened: Open, address: str) -> None:
    page = opened(address, viewport={"width": 360, "height": 740})
    wait(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_search_and_its_explanation_by_the_keyboard_alone(opened: Open) -> None:
    page = opened()
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("why are there tides")
    page.keyboard.press("Enter")
    expect(page.get_by_role("article").first).to_contain_text("Why there are tides")
    expect(page.get_by_role("searchbox")).to_be_focused()
    why = page.get_by_role("button", name="Why is it here? Why there are tides")
    tab_to(page, why)
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("First pass")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(why).to_be_focused()


def test_every_view_is_reached_by_the_keyboard_alone(opened: Open) -> None:
    page = opened("#/key")
    wait(page)
    for name in NAMES:
        link = page.locator("#menu").get_by_role("link", name=name.capitalize())
        tab_to(page, link, "Shift+Tab")
        page.keyboard.press("Enter")
        expect(page.locator("#menu [aria-current]")).to_have_text(name.capitalize())
        expect(page.get_by_role("heading", level=1)).to_have_count(1)


def tab_to(page: Page, target: object, key: str = "Tab") -> None:
    """Press the key until the target has the focus."""
    for _ in range(60):
        page.keyboard.press(key)
        if target.evaluate("node => node === document.activeElement"):  # type: ignore[attr-defined]
            return
    raise AssertionError(f"Tab does not reach {target}")


def test_the_theme_follows_the_system_until_the_person_chooses(opened: Open) -> None:
    page = opened("#/key", color_scheme="dark")
    scheme = "getComputedStyle(document.documentElement).colorScheme"
    assert page.evaluate(scheme) == "light dark"
    page.get_by_role("button", name="Use the light theme").click()
    assert page.evaluate(scheme) == "light"
    page.reload()
    expect(page.get_by_role("button", name="Use the dark theme")).to_be_visible()
    assert page.evaluate(scheme) == "light"
