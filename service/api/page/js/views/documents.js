/** Documents: list, read, add, edit and delete. */
import { get, inCollection, put, remove } from "../api.js";
import { el, fill } from "../dom.js";
import { conditionRows } from "../filters.js";
import { metadataChips } from "../metadata.js";
import { address, go } from "../place.js";
import { button, confirm, field, form, notify, openDialog, pageTitle, table } from "../ui.js";

const A_PAGE = 25;
const SHOWN_CHARS = 160;

export async function show({ main, params, collection, signal }) {
  const path = (id) => inCollection(collection, `documents/${encodeURIComponent(id)}`);
  const again = () => go("documents", { ...Object.fromEntries(params), t: Date.now() });
  const title = pageTitle(
    "Documents",
    "What this collection holds. A change is on disk at once, and searches see it soon after.",
    button("Add a document", () => edit(null), "primary"),
  );
  if (params.get("id")) await showOne(params.get("id"));
  else await showList();

  async function showList() {
    const conditions = conditionRows();
    conditions.set(params.get("filters"));
    const narrow = form([conditions.node], "Show these", () => {
      go("documents", { filters: conditions.text() });
    });
    const options = el("details", { class: "options" }, el("summary", {}, "Filters"), narrow);
    options.open = Boolean(params.get("filters"));
    const query = { limit: A_PAGE, filters: params.get("filters"), cursor: params.get("cursor") };
    const page = await get(inCollection(collection, "documents"), { query, signal });
    fill(main, title, options, page.documents.length ? rows(page) : nothing());
    if (page.cursor) main.append(nextPage(page.cursor));
  }

  function rows(page) {
    const cells = page.documents.map((one) => [
      el(
        "div",
        { class: "stack tight" },
        el("a", { href: address("documents", { id: one.id }) }, one.title || one.id),
        one.title && el("span", { class: "mono muted" }, one.id),
      ),
      el("span", { class: "muted" }, shortened(one.text)),
      state(one),
      el(
        "div",
        { class: "actions" },
        button("Edit", () => edit(one), "", { "aria-label": `Edit ${one.id}` }),
        button("Delete", () => drop(one), "danger", { "aria-label": `Delete ${one.id}` }),
      ),
    ]);
    return table("Documents", ["Document", "Text", "State", ""], cells);
  }

  function nextPage(cursor) {
    const next = address("documents", { filters: params.get("filters"), cursor });
    const first = address("documents", { filters: params.get("filters") });
    return el(
      "div",
      { class: "actions" },
      params.get("cursor") && el("a", { class: "button", href: first }, "First page"),
      el("a", { class: "button", href: next }, "Next page"),
    );
  }

  async function showOne(id) {
    const one = await get(path(id), { signal });
    const head = pageTitle(
      one.title || one.id,
      one.title && el("span", { class: "mono" }, one.id),
      el("a", { class: "button", href: address("documents") }, "All documents"),
      button("Edit", () => edit(one)),
      button("Delete", () => drop(one), "danger"),
    );
    fill(main, head, state(one), metadataChips(one.metadata), el("p", { class: "box text" }, one.text));
  }

  function edit(one) {
    const input = {
      id: el("input", { value: one?.id ?? "", disabled: Boolean(one), class: "mono" }),
      title: el("input", { value: one?.title ?? "" }),
      text: el("textarea", { rows: 10 }),
      metadata: el("textarea", { rows: 4, class: "mono", spellcheck: "false" }),
    };
    input.text.value = one?.text ?? "";
    input.metadata.value = JSON.stringify(one?.metadata ?? {}, null, 2);
    const fields = [
      field("Id", input.id, one ? null : "A new id adds a document."),
      field("Title", input.title),
      field("Text", input.text),
      field("Metadata", input.metadata, 'JSON, for example {"topic": "python", "level": 2}'),
    ];
    openDialog(one ? "Edit the document" : "Add a document", (close) => {
      const save = async () => {
        await store(one, input);
        close();
        notify("Stored.");
        again();
      };
      return form(fields, "Store", save, "primary", close);
    });
    (one ? input.text : input.id).focus();
  }

  async function store(one, input) {
    const body = {
      title: input.title.value,
      text: input.text.value,
      metadata: readMetadata(input.metadata.value),
    };
    const id = one?.id ?? input.id.value.trim();
    if (!id) throw new Error("A document needs an id.");
    // Neither another person's change nor another document is overwritten unseen.
    const headers = one ? { "If-Match": `"${one.version}"` } : { "If-None-Match": "*" };
    await put(path(id), body, { query: { wait: true, timeout_ms: 5000 }, headers });
  }

  function drop(one) {
    const text = `“${one.title || one.id}” is deleted for good.`;
    confirm("Delete the document?", text, "Delete", async () => {
      await remove(path(one.id), { headers: { "If-Match": `"${one.version}"` } });
      notify("Deleted.");
      if (params.get("id")) go("documents");
      else again();
    });
  }

  function nothing() {
    const text = params.get("filters")
      ? "No document matches these filters."
      : "There are no documents yet. Add one here, or upload a file under Jobs.";
    return el("p", { class: "box" }, text);
  }
}

function shortened(text) {
  const points = Array.from(text);
  return points.length > SHOWN_CHARS ? `${points.slice(0, SHOWN_CHARS).join("")}…` : text;
}

function state({ indexed, problem }) {
  if (problem) return el("span", { class: "state bad" }, problem);
  return el("span", { class: `state ${indexed ? "good" : ""}` }, indexed ? "searchable" : "waiting");
}

function readMetadata(text) {
  try {
    return JSON.parse(text || "{}");
  } catch (error) {
    throw new Error(`The metadata is not valid JSON: ${error.message}`);
  }
}
