"""From a search to labels, a calibration and other words, on the page alone."""

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.fixtures.library import DOCUMENTS
from tests.page.conftest import EVIL_ROW, Open, Site
from tests.page.test_access import faults

QUERY = "why are there tides"
JOB_MS = 120_000
"""The first job of a server imports what fits and measures."""


@pytest.fixture
def collection(site: Site) -> Iterator[str]:
    """A collection of its own, as labels change what the words say."""
    name, rows = "labelled", [{"id": d.id, "title": d.title, "text": d.text} for d in DOCUMENTS]
    with httpx.Client(base_url=site.url, timeout=60) as client:
        assert client.post("/collections", json={"name": name}).status_code == 201
        documents = {"documents": [*rows, EVIL_ROW]}
        client.post(f"/collections/{name}/documents?wait=true", json=documents)
        yield name
        assert client.delete(f"/collections/{name}").status_code == 204


def words(page: Page) -> list[str]:
    expect(page.get_by_role("article").first).to_be_visible()
    return page.locator("article .confidence").evaluate_all("all => all.map(n => n.classList[1])")


def label(page: Page, right: int) -> None:
    """Label each hit; the first `right` are relevant."""
    hits = page.get_by_role("article")
    expect(hits).to_have_count(10)
    for place in range(hits.count()):
        name = "Yes:" if place < right else "No:"
        pressed = hits.nth(place).get_by_role("button", name=name)
        pressed.click()
        expect(pressed).to_have_attribute("aria-pressed", "true")


def test_ten_labels_and_a_calibration_change_the_words(opened: Open, collection: str) -> None:
    address = f"#/search?q={QUERY.replace(' ', '+')}&in={collection}"
    page = opened(address)
    before = words(page)
    assert len(before) == 10
    label(page, right=8)
    page.locator("#menu").get_by_role("link", name="Evaluate").click()
    expect(page.get_by_text("10 hits of 1 questions: 8 relevant or partly, 2 not.")).to_be_visible()
    expect(page.get_by_text("Enough to calibrate")).to_be_visible()
    page.get_by_role("button", name="Calibrate").click()
    heading = page.get_by_role("heading", name="Confidence, before and after")
    expect(heading).to_be_visible(timeout=JOB_MS)
    expect(page.get_by_text("fitted to the labels of this collection")).to_be_visible()
    expect(page.get_by_role("table", name="Hits whose confidence changed")).to_be_visible()
    expect(page.get_by_text("all labels belong to 1 queries")).to_be_visible()
    page.get_by_role("button", name="Evaluate", exact=True).click()
    expect(page.get_by_role("table", name="Measures")).to_be_visible(timeout=JOB_MS)
    expect(page.get_by_role("img", name="Reliability")).to_be_visible()
    expect(page.get_by_role("img", name="Depth of the second pass")).to_be_visible()
    assert faults(page) == []
    page.get_by_role("link", name=QUERY).first.click()
    after = words(page)
    assert after != before
    assert after.count("high") > before.count("high")
    page.locator("#menu").get_by_role("link", name="Evaluate").click()
    expect(page.get_by_role("table", name="Measures")).to_be_visible()  # of the last job
    page.get_by_role("button", name="Go back to the server's own").click()
    expect(page.get_by_text("shipped with the models")).to_be_visible()


def test_a_label_is_taken_back_by_a_second_press(opened: Open, site: Site, collection: str) -> None:
    page = opened(f"#/search?q=tides+follow+the+moon&in={collection}")
    yes = page.get_by_role("article").first.get_by_role("button", name="Yes:")
    yes.focus()
    page.keyboard.press("Enter")
    expect(yes).to_have_attribute("aria-pressed", "true")
    labels = f"{site.url}/collections/{collection}/labels"
    assert httpx.get(labels).json()["counts"]["judged"] == 1
    page.keyboard.press("Enter")
    expect(yes).to_have_attribute("aria-pressed", "false")
    assert httpx.get(labels).json()["counts"]["judged"] == 0


def test_too_few_labels_are_told_before_and_after_the_press(opened: Open, collection: str) -> None:
    page = opened(f"#/evaluate?in={collection}")
    expect(page.get_by_text("There are none yet.")).to_be_visible()
    page.get_by_role("button", name="Calibrate").click()
    failed = page.get_by_text("Not done: the collection 'labelled' has no labels")
    expect(failed).to_be_visible(timeout=JOB_MS)
    page.goto(page.url.replace("evaluate?", "search?q=tides+follow+the+moon+img&"))
    label(page, right=10)
    page.locator("#menu").get_by_role("link", name="Evaluate").click()
    expect(page.get_by_text("To calibrate, label one that is not relevant.")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_with_results(
    opened: Open, site: Site, collection: str, scheme: str
) -> None:
    base = f"{site.url}/collections/{collection}"
    hits = httpx.post(f"{base}/search", json={"query": QUERY}).json()["hits"]
    judged = [
        {"id": hit["id"], "judgement": "relevant" if hit["rank"] < 9 else "not_relevant"}
        for hit in hits
    ]
    httpx.post(f"{base}/labels", json={"query": f"{QUERY} <b>", "hits": judged})
    page = opened(
        f"#/evaluate?in={collection}", color_scheme=scheme, viewport={"width": 360, "height": 740}
    )
    page.get_by_role("button", name="Calibrate").click()
    heading = page.get_by_role("heading", name="Confidence, before and after")
    expect(heading).to_be_visible(timeout=JOB_MS)
    page.get_by_role("button", name="Evaluate", exact=True).click()
    expect(page.get_by_role("table", name="Lost documents")).to_have_count(0)
    expect(page.get_by_role("table", name="Measures")).to_be_visible(timeout=JOB_MS)
    expect(page.locator("main")).to_contain_text(f"{QUERY} <b>")
    assert faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
