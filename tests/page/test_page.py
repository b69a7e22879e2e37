"""What people do on the page, in a browser that reaches this machine alone."""

import json
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Route, expect

from tests.page.conftest import EVIL, KEY, Open, Site
from tests.page.views import FOLDER, QUERY, wait

MOST_BYTES = 150_000


def test_the_first_load_is_light(opened: Open, site: Site) -> None:
    page, sizes = opened("#/key"), []
    page.on("response", lambda answer: sizes.append(len(answer.body())))
    page.goto("about:blank")
    page.goto(f"{site.url}/{QUERY}")
    wait(page)
    assert len(sizes) > 10
    assert sum(sizes) <= MOST_BYTES


def test_no_file_of_the_page_has_markup_in_a_script_or_a_script_in_markup() -> None:
    scripts = {path: path.read_text(encoding="utf-8") for path in FOLDER.rglob("*.js")}
    for path, text in scripts.items():
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert word not in text, path
    for path in FOLDER.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert "<style" not in text
        assert "style=" not in text
        assert "<script>" not in text


@pytest.mark.parametrize("path", ["/", "/page/js/main.js", "/docs", "/docs/swagger-ui-bundle.js"])
def test_every_file_has_the_headers_that_protect_it(site: Site, path: str) -> None:
    answer = httpx.get(f"{site.url}{path}")
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self';")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    known = httpx.get(f"{site.url}{path}", headers={"If-None-Match": answer.headers["ETag"]})
    assert (known.status_code, known.content) == (304, b"")


@pytest.mark.parametrize("path", ["/page/../app.py", "/page/%2e%2e/app.py", "/page/none.js"])
def test_no_other_file_is_served(site: Site, path: str) -> None:
    answer = httpx.get(f"{site.url}{path}")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


def test_hits_say_how_sure_they_are_and_where_they_were(opened: Open) -> None:
    page = opened(QUERY)
    first = page.get_by_role("article").first
    expect(first.get_by_role("heading")).to_contain_text("Why there are tides")
    expect(first.locator(".confidence")).to_contain_text("high")
    expect(first.locator(".confidence")).to_contain_text("%")
    expect(first).to_contain_text("First pass")
    expect(first).to_contain_text("Second pass")
    expect(page.get_by_text("Probably nothing here answers this")).to_have_count(0)


def test_hits_mark_what_answers_and_explain_why_they_are_there(opened: Open) -> None:
    page = opened(QUERY)
    first = page.get_by_role("article").first
    expect(first.locator("mark").first).to_be_visible()
    expect(first.locator("b", has_text="Tides").first).to_be_visible()
    first.get_by_role("button", name="Why is it here?").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("row").nth(1)).to_be_visible()
    expect(dialog).to_contain_text("The calibrated probability")


def test_further_pages_repeat_no_hit(opened: Open) -> None:
    page = opened(QUERY)
    hits = page.get_by_role("article")
    expect(hits).to_have_count(10)
    page.get_by_role("button", name="More hits").click()
    expect(hits.nth(10)).to_be_visible()
    headings = hits.get_by_role("heading").all_inner_texts()
    assert len(set(headings)) == len(headings) > 10
    expect(page.get_by_role("button", name="More hits")).to_be_hidden()
    hits.last.get_by_role("button", name="Why is it here?").click()
    expect(page.get_by_role("dialog")).to_contain_text("First pass: recall")


def test_counts_of_metadata_narrow_the_search(opened: Open) -> None:
    page = opened("#/search?q=why+are+there+tides")
    box = page.locator(".facets")
    expect(box).to_contain_text("topic")
    box.get_by_role("button", name="python").click()
    expect(page.get_by_role("article")).to_have_count(3)
    assert "python" in page.url


def test_a_question_without_an_answer_is_told(opened: Open) -> None:
    page = opened("#/search?q=opening+hours+of+the+swimming+pool")
    expect(page.get_by_text("Probably nothing here answers this")).to_be_visible()


def test_a_filter_is_added_by_a_press_and_kept_in_the_address(opened: Open) -> None:
    page = opened(QUERY)
    page.get_by_role("article").first.get_by_role("button", name="topic: science").click()
    expect(page.get_by_role("article")).to_have_count(1)
    expect(page.get_by_label("Value", exact=True)).to_have_value("science")
    page.reload()
    expect(page.get_by_role("article")).to_have_count(1)
    page.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_role("article")).not_to_have_count(1)


@pytest.mark.parametrize("address", ["#/search?q=tides+follow+the+moon+img+onerror", "#/documents"])
def test_markup_in_documents_is_shown_as_text(opened: Open, address: str) -> None:
    page = opened(address)
    shown = page.locator("main")
    expect(shown).to_contain_text(f"Tides {EVIL}")
    expect(shown).to_contain_text(f"evil {EVIL}")
    expect(shown).to_contain_text(f"Tides follow the moon. {EVIL}")
    if "search" in address:
        expect(shown).to_contain_text(f"field {EVIL}: value {EVIL}")
        expect(shown).to_contain_text(f"tags: tag {EVIL}")
        page.get_by_role("button", name="Why is it here? Tides <img").click()
        expect(page.get_by_role("dialog")).to_contain_text(f"Tides {EVIL}")
        page.keyboard.press("Escape")
    page.get_by_role("link", name="Tides <img").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Tides {EVIL}")
    page.get_by_role("button", name="Edit").click()
    expect(page.get_by_label("Title", exact=True)).to_have_value(f"Tides {EVIL}")
    assert page.locator("main img, main script, dialog img, dialog script").count() == 0


def test_an_error_that_repeats_what_was_sent_is_shown_as_text(opened: Open) -> None:
    page = opened(f"#/documents?id={EVIL.replace(' ', '+')}")
    expect(page.get_by_role("alert")).to_contain_text("there is no document")
    page = opened(f"#/search?q=tides&in={EVIL.replace(' ', '+')}")
    expect(page.get_by_role("alert")).to_be_visible()


def test_a_document_is_added_changed_and_deleted(opened: Open, site: Site) -> None:
    page = opened("#/documents")
    page.get_by_role("button", name="Add a document").click()
    page.get_by_label("Id", exact=True).fill("knots/bowline 1")
    page.get_by_label("Title", exact=True).fill("The bowline")
    page.get_by_label("Text", exact=True).fill("A bowline makes a loop that does not slip.")
    page.get_by_label("Metadata").fill('{"topic": ')
    page.get_by_role("button", name="Store").click()
    expect(page.get_by_role("alert")).to_contain_text("not valid JSON")
    page.get_by_label("Metadata").fill('{"topic": "knots"}')
    page.get_by_role("button", name="Store").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("link", name="The bowline").click()
    expect(page.locator(".text")).to_have_text("A bowline makes a loop that does not slip.")
    page.get_by_role("button", name="Edit").click()
    page.get_by_label("Text", exact=True).fill("It is the king of knots.")
    page.get_by_role("button", name="Store").click()
    expect(page.locator(".text")).to_have_text("It is the king of knots.")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Documents")
    assert httpx.get(f"{site.url}/documents/knots/bowline 1").status_code == 404


def test_another_person_s_change_is_not_overwritten(opened: Open, site: Site) -> None:
    address, row = f"{site.url}/documents/shared", {"text": "The first version of the text."}
    httpx.put(f"{address}?wait=true", json=row)
    page = opened("#/documents?id=shared")
    page.get_by_role("button", name="Edit").click()
    httpx.put(f"{address}?wait=true", json={"text": "The second version of the text."})
    page.get_by_label("Text", exact=True).fill("The third version of the text.")
    page.get_by_role("button", name="Store").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_be_visible()
    assert "second" in httpx.get(address).json()["text"]
    httpx.delete(address)


def test_a_file_becomes_a_job_with_progress(opened: Open, tmp_path: Path) -> None:
    rows = [{"id": f"up-{n}", "text": f"Uploaded text number {n}."} for n in range(3)]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, [*rows, {"id": "bad"}])))
    page = opened("#/jobs")
    page.get_by_role("button", name="Upload a file").click()
    page.get_by_label("File", exact=True).set_input_files(file)
    page.get_by_role("dialog").get_by_role("button", name="Upload").click()
    row = page.get_by_role("row").nth(1)
    expect(row).to_contain_text("done", timeout=30_000)
    expect(row).to_contain_text("4 of 4")
    row.get_by_role("button", name="Details").click()
    expect(page.get_by_role("dialog")).to_contain_text("text")
    expect(page.get_by_role("dialog")).to_contain_text("is missing")


def test_a_collection_is_created_chosen_and_deleted(opened: Open) -> None:
    page = opened("#/collections")
    page.get_by_role("button", name="New collection").click()
    page.get_by_label("Name", exact=True).fill("Not A Name")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("alert")).to_contain_text("name")
    page.get_by_label("Name", exact=True).fill("second")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", name="second")).to_be_visible()
    page.get_by_label("Collection").select_option("second")
    page.locator("#menu").get_by_role("link", name="Documents").click()
    expect(page.get_by_text("There are no documents yet")).to_be_visible()
    page.get_by_label("Collection").select_option("")
    page.locator("#menu").get_by_role("link", name="Collections").click()
    expect(page.get_by_role("heading", name="second")).to_be_visible()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", name="second")).to_have_count(0)


def test_a_server_with_keys_asks_for_one_and_the_tab_alone_keeps_it(
    opened: Open, site: Site
) -> None:
    page = opened(QUERY, at=site.locked)
    expect(page.get_by_role("dialog")).to_contain_text("needs an API key")
    page.get_by_label("Key", exact=True).fill("a wrong one")
    page.get_by_role("button", name="Use this key").click()
    expect(page.get_by_role("dialog")).to_contain_text("does not accept this key")
    page.get_by_label("Key", exact=True).fill(KEY)
    page.get_by_role("button", name="Use this key").click()
    expect(page.get_by_role("article").first).to_contain_text("Why there are tides")
    assert page.evaluate("Object.values(sessionStorage)") == [KEY]
    assert page.evaluate("Object.values(localStorage)") == []
    assert page.context.cookies() == []
    page.locator("#menu").get_by_role("link", name="Key").click()
    expect(page.locator("main")).to_contain_text("search, read documents, and send feedback")
    page.get_by_role("button", name="Forget the key").click()
    expect(page.get_by_role("dialog")).to_contain_text("needs an API key")


def test_a_person_without_a_key_may_give_up(opened: Open, site: Site) -> None:
    page = opened(QUERY, at=site.locked)
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_role("alert")).to_contain_text("API key")


def test_the_page_waits_for_a_server_that_loads(opened: Open, site: Site) -> None:
    page, answers = opened("#/key"), [503, 503]

    def load(route: Route) -> None:
        if not answers:
            route.continue_()
            return
        error = {"code": "not_ready", "message": "loading", "request_id": "r"}
        route.fulfill(status=answers.pop(), json={"error": error}, headers={"Retry-After": "1"})

    page.route("**/search", load)
    page.goto(f"{site.url}/{QUERY}")
    expect(page.locator("#banner")).to_contain_text("loading its models")
    expect(page.get_by_role("article").first).to_be_visible()
    expect(page.locator("#banner")).to_be_empty()


def test_the_documentation_works_without_another_host(opened: Open) -> None:
    page = opened("docs")
    expect(page.get_by_role("heading", name="Secondpass")).to_be_visible(timeout=30_000)
    expect(
        page.locator("#operations-tag-search, [id*='search_search'], .opblock").first
    ).to_be_visible()


@pytest.mark.parametrize("path", ["behind", "behind/", "behind/docs"])
def test_everything_works_below_a_prefix(opened: Open, site: Site, path: str) -> None:
    page = opened("livez")
    page.route(f"{site.url}/**", lambda route: through_proxy(route, site.url))
    page.goto(f"{site.url}/{path}")
    if path.endswith("docs"):
        expect(page.locator(".opblock").first).to_be_visible(timeout=30_000)
        return
    page.get_by_role("searchbox").fill("why are there tides")
    page.keyboard.press("Enter")
    expect(page.get_by_role("article").first).to_be_visible()
    assert page.url.startswith(f"{site.url}/{path}#/search")
    page.unroute_all(behavior="ignoreErrors")  # the counts of metadata may be on their way


def through_proxy(route: Route, url: str) -> None:
    """As a proxy that shows the server below a prefix, and nothing else."""
    request, prefix = route.request, f"{url}/behind"
    if not request.url.startswith(prefix):
        route.abort()
        return
    path = request.url.removeprefix(prefix)
    headers = {**request.headers, "X-Forwarded-Prefix": "/behind"}
    route.fulfill(response=route.fetch(url=f"{url}{path or '/'}", headers=headers))
