/** Key: what the key in use may do. */
import { get, storedKey, storeKey } from "../api.js";
import { el, fill } from "../dom.js";
import { askForKey } from "../key_dialog.js";
import { button, number, pageTitle } from "../ui.js";

const SCOPES = {
  search: "search, read documents, and send feedback",
  write: "store and delete documents, label hits, and follow jobs",
  admin: "manage collections and snapshots, calibrate and evaluate",
  metrics: "read the metrics",
};

export async function show({ main, signal }) {
  const actions = [
    button("Use another key", change, "primary"),
    storedKey() && button("Forget the key", forget),
  ];
  const title = pageTitle("Key", "What this tab may do on the server.", actions);
  const { key } = await get("key", { signal });
  fill(main, title, key ? described(key) : open());

  async function change() {
    if (await askForKey(false)) show({ main, signal });
  }

  function forget() {
    storeKey("");
    show({ main, signal });
  }
}

function open() {
  return el(
    "section",
    { class: "box stack" },
    el("h2", {}, "No key is needed"),
    el("p", {}, "This server has no keys: everyone who can reach it may read, write and delete."),
    el("p", {}, "To require keys, run ", el("code", {}, "secondpass keys create NAME --scope search"), "."),
  );
}

function described(key) {
  const { rate, burst, share } = key.limits;
  const limits = [
    rate !== null && `${number(rate)} requests a second`,
    burst !== null && `${number(burst)} at once`,
    share !== null && `${Math.round(share * 100)}% of each queue`,
  ].filter(Boolean);
  const rows = [
    ["Name", key.name],
    ["May", el("ul", { class: "plain" }, key.scopes.map((scope) => el("li", {}, el("b", {}, scope), `: ${SCOPES[scope]}`)))],
    ["Collections", key.collections ? key.collections.join(", ") : "all"],
    ["Documents", key.filtered ? "those that the filter of the key lets through" : "all"],
    ["Limits", limits.join(", ") || "none of its own"],
    ["Expires", key.expires ? new Date(key.expires).toLocaleString() : "never"],
  ];
  return el(
    "section",
    { class: "box" },
    el("dl", { class: "facts" }, rows.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
  );
}
