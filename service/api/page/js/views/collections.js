/** Collections: what there is, with its models and figures; create, make default, delete. */
import { get, post, put, remove } from "../api.js";
import { el, fill } from "../dom.js";
import { address } from "../place.js";
import { button, confirm, field, form, notify, number, openDialog, pageTitle } from "../ui.js";

const REFRESH_MS = 2000;

export async function show({ main, signal }) {
  const list = el("div", { class: "cards" });
  fill(
    main,
    pageTitle(
      "Collections",
      "Each has its own documents, and may have its own encoder. Requests that name none use the " +
        "alias “default”.",
      button("New collection", create, "primary"),
    ),
    list,
  );
  await refresh();

  async function refresh() {
    const { collections } = await get("collections", { signal });
    fill(list, collections.map(card));
    // Documents that wait for their encoding become fewer while the person looks.
    const moving = collections.some((one) => one.staged > 0 || one.copy?.state === "running");
    if (moving) setTimeout(() => signal.aborted || refresh().catch(() => {}), REFRESH_MS);
  }

  function changed(text) {
    notify(text);
    window.dispatchEvent(new Event("collections-changed"));
    return refresh();
  }

  function card(one) {
    const isDefault = one.aliases.includes("default");
    return el(
      "section",
      { class: "box stack" },
      el(
        "div",
        { class: "hit-top" },
        el("h2", {}, one.name),
        el("ul", { class: "chips" }, one.aliases.map((a) => el("li", { class: "chip" }, a))),
      ),
      facts({
        Documents: number(one.documents),
        Passages: number(one.passages),
        Waiting: one.staged > 0 && number(one.staged),
        Failed: one.failed > 0 && number(one.failed),
        Encoder: one.encoder?.model ?? "–",
        Reranker: one.reranker ?? "–",
        Copy: one.copy && `${one.copy.state}, ${one.copy.copied} of ${one.copy.total}`,
        Settings: Object.keys(one.settings).length > 0 && JSON.stringify(one.settings),
      }),
      one.problems.map((text) => el("p", { class: "box warn" }, text)),
      el(
        "div",
        { class: "actions" },
        el("a", { class: "button", href: address("search", {}, one.name) }, "Search it"),
        !isDefault && button("Make default", () => makeDefault(one.name)),
        one.name !== "main" && !isDefault && button("Delete", () => drop(one), "danger"),
      ),
    );
  }

  function create() {
    const name = el("input", { class: "mono", autocomplete: "off" });
    const hint = "1 to 64 of a-z, 0-9, _ and -, the first one a letter or digit";
    openDialog("New collection", (close) => {
      const make = async () => {
        await post("collections", { name: name.value.trim() });
        close();
        await changed("Created.");
      };
      return form([field("Name", name, hint)], "Create", make, "primary", close);
    });
    name.focus();
  }

  function makeDefault(name) {
    const text = `Requests that name no collection then go to “${name}”.`;
    confirm("Make it the default?", text, "Make default", async () => {
      await put("aliases/default", { collection: name });
      await changed("Switched.");
    });
  }

  function drop({ name, documents }) {
    const text = `“${name}” and its ${number(documents)} documents are deleted for good.`;
    confirm("Delete the collection?", text, "Delete", async () => {
      await remove(`collections/${encodeURIComponent(name)}`);
      await changed("Deleted.");
    });
  }
}

function facts(entries) {
  const rows = Object.entries(entries).filter(([, value]) => value);
  return el("dl", { class: "facts" }, rows.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}
