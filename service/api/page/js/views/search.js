/** Search: a question, its hits, and what each stage did. */
import { inCollection, post } from "../api.js";
import { el, fill } from "../dom.js";
import { facetBox } from "../facets.js";
import { conditionRows } from "../filters.js";
import { hitCard } from "../hit.js";
import { rankChart } from "../rank_chart.js";
import { address, go } from "../place.js";
import { timings } from "../timings.js";
import { underway } from "../underway.js";
import { button, errorBox, field, number, percent, select } from "../ui.js";

const HITS_A_PAGE = 10;
const PARTS = 2;

const EXAMPLES = [
  "write rows to a CSV file",
  "sort a list by two keys",
  "what raises ValueError",
  "catch several exceptions in one handler",
  "how long should I boil an egg",
];
/** Questions to the demo corpus; nothing in it answers the last one. */

const MODES = [
  ["", "the server's default"],
  ["dense", "meaning (vectors)"],
  ["sparse", "words"],
  ["hybrid", "both"],
];
const LEVELS = [
  ["", "all hits"],
  ["medium", "medium or high"],
  ["high", "high only"],
];

export async function show({ main, params, collection, signal }) {
  const box = el("input", {
    type: "search",
    name: "q",
    placeholder: "Ask a question, or type keywords",
    "aria-label": "Query",
    autocomplete: "off",
  });
  const mode = select(MODES, "");
  const least = select(LEVELS, "");
  const conditions = conditionRows();
  const options = el(
    "details",
    { class: "options" },
    el("summary", {}, "Filters and options"),
    el(
      "div",
      { class: "stack" },
      conditions.node,
      el("div", { class: "row" }, field("Find passages by", mode), field("Show", least)),
    ),
  );
  const form = el(
    "form",
    { role: "search", class: "search" },
    el("div", { class: "ask" }, box, el("button", { class: "primary" }, "Search")),
    options,
  );
  const results = el("div", { class: "stack", id: "results" });
  let running = new AbortController();
  signal.addEventListener("abort", () => running.abort());

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const asked = {
      q: box.value.trim(),
      mode: mode.value,
      least: least.value,
      filters: conditions.text(),
    };
    const next = address("search", asked);
    if (next === location.hash) update(new URLSearchParams(asked));
    else location.hash = next;
  });

  async function update(next) {
    box.value = next.get("q") ?? "";
    mode.value = next.get("mode") ?? "";
    least.value = next.get("least") ?? "";
    conditions.set(next.get("filters"));
    options.open ||= Boolean(next.get("filters") || next.get("mode") || next.get("least"));
    running.abort();
    running = new AbortController();
    if (!box.value) {
      fill(results, welcome());
      return;
    }
    results.setAttribute("aria-busy", "true");
    await search(next, running.signal);
    results.removeAttribute("aria-busy");
  }

  async function search(asked, stop) {
    const body = request(asked);
    try {
      const answer = await post(inCollection(collection, "search"), body, { signal: stop });
      const further = (filters) => narrow(asked, filters);
      const found = { request: body, answer, collection, narrow: further, signal: stop };
      const aside = el("aside", { class: "stack", "aria-label": "How this was found" });
      fill(aside, timings(answer), rankChart(answer.hits));
      fill(results, answered(found, aside));
      const facets = await facetBox({ ...found, ...body, hits: answer.hits });
      if (facets) aside.prepend(facets);
    } catch (error) {
      if (error.name !== "AbortError") fill(results, errorBox(error));
    }
  }

  fill(main, el("h1", { class: "unseen" }, "Search"), form, underway(signal), results);
  update(params);
  if (!params.get("q")) box.focus();
  return update;
}

function request(asked) {
  const body = { query: asked.get("q"), top_k: HITS_A_PAGE, offset: 0, highlights: PARTS };
  if (asked.get("mode")) body.mode = asked.get("mode");
  if (asked.get("least")) body.min_confidence = asked.get("least");
  if (asked.get("filters")) body.filters = JSON.parse(asked.get("filters"));
  return body;
}

function welcome() {
  const examples = EXAMPLES.map((text) =>
    el("li", {}, el("a", { class: "button", href: address("search", { q: text }) }, text)),
  );
  return el(
    "section",
    { class: "welcome" },
    el("h2", {}, "Search that tells you how sure it is"),
    el(
      "p",
      { class: "muted" },
      "The first pass finds candidates, the second reads each one beside your question. Every hit " +
        "says how likely it is to be relevant. If nothing fits, the answer says so.",
    ),
    el("p", {}, "Try one of these on the demo collection; nothing there answers the last one:"),
    el("ul", { class: "examples" }, examples),
  );
}

function answered(found, aside) {
  const { hits, warnings } = found.answer;
  return [
    el("p", { class: "muted", role: "status" }, summary(found.answer)),
    verdict(found.answer),
    warnings.map((text) => el("p", { class: "box warn" }, text)),
    hits.length > 0 && el("div", { class: "found" }, hitList(found), aside),
  ];
}

/** The hits, and a button that adds the next page. */
function hitList(found) {
  const list = el("ol", { class: "hits" });
  const more = button("More hits", add);
  const show = ({ hits, next_cursor: cursor }) => {
    list.append(...hits.map((hit) => el("li", {}, hitCard(hit, found))));
    more.hidden = !cursor;
    more.cursor = cursor;
  };
  show(found.answer);
  return el("div", { class: "stack" }, list, more);

  async function add() {
    const { offset, ...request } = found.request;
    const before = list.childElementCount;
    more.disabled = true;
    try {
      const body = { ...request, cursor: more.cursor };
      show(await post(inCollection(found.collection, "search"), body, { signal: found.signal }));
      list.children[before]?.querySelector("button")?.focus();
    } catch (error) {
      if (error.name !== "AbortError") more.replaceWith(errorBox(error));
    }
    more.disabled = false;
  }
}

function summary({ hits, timings_ms: times, index, cached }) {
  const found = hits.length === 1 ? "1 hit" : `${hits.length} hits`;
  const among = index.documents === null ? "" : ` in ${number(index.documents)} documents`;
  const again = cached ? ", from an earlier question with the same meaning" : "";
  return `${found}${among}, ${Math.round(times.total)} ms${again}`;
}

/** Whether anything answers the question, in words. */
function verdict({ hits, answerable, index }) {
  if (hits.length === 0) {
    const why =
      index.documents === 0
        ? "There are no documents in this collection yet."
        : "No document matches these filters and options.";
    return el("div", { class: "box" }, el("h2", {}, "No hits"), el("p", {}, why));
  }
  if (answerable !== false) return null;
  const best = Math.max(...hits.map((hit) => hit.probability ?? 0));
  return el(
    "div",
    { class: "box warn" },
    el("h2", {}, "Probably nothing here answers this"),
    el(
      "p",
      {},
      `The most likely hit has a probability of ${percent(best)}. The hits below are only the ` +
        "nearest texts.",
    ),
  );
}

/** Search again with one more condition. */
function narrow(asked, filters) {
  const before = asked.get("filters") ? JSON.parse(asked.get("filters")) : {};
  const next = { ...Object.fromEntries(asked), filters: JSON.stringify({ ...before, ...filters }) };
  go("search", next);
}
