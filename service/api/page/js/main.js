/** Starts the page: the menu, the views, the choice of a collection, and the theme. */
import * as api from "./api.js";
import { el, fill } from "./dom.js";
import { askForKey } from "./key_dialog.js";
import { address, place } from "./place.js";
import { errorBox } from "./ui.js";
import { startTheme } from "./theme.js";
import { views } from "./views.js";

const main = document.getElementById("main");
const menu = document.getElementById("menu");
const banner = document.getElementById("banner");
const choice = document.getElementById("collection");

let shown = { name: null, update: null, leave: null };

api.hooks.askForKey = async (wasRefused) => {
  const given = await askForKey(wasRefused);
  if (given) listCollections();
  return given;
};

api.hooks.loading = (isLoading) => {
  const text = "The server is loading its models. This page continues as soon as it is ready.";
  const has = banner.childElementCount > 0;
  if (isLoading !== has) fill(banner, isLoading && el("p", { class: "banner" }, text));
};

/** Show the view that the address names, or let it show other parameters. */
async function show() {
  const { name, params, collection } = place();
  const view = views.find((one) => one.name === name) ?? views[0];
  drawMenu(view.name, collection);
  if (shown.name === view.name && shown.collection === collection && shown.update) {
    shown.update(params);
    return;
  }
  shown.leave?.abort();
  const isFirst = shown.name === null;
  const leave = new AbortController();
  shown = { name: view.name, collection, leave, update: null };
  document.title = `${view.title} · Secondpass`;
  fill(main);
  window.scrollTo(0, 0);
  if (!isFirst) main.focus();
  try {
    const module = await view.load();
    if (leave.signal.aborted) return;
    shown.update = await module.show({ main, params, collection, signal: leave.signal });
  } catch (error) {
    if (!leave.signal.aborted) main.append(errorBox(error));
  }
}

function drawMenu(current, collection) {
  const entries = views.map((view) =>
    el(
      "a",
      { href: address(view.name, {}, collection), "aria-current": view.name === current && "page" },
      view.title,
    ),
  );
  fill(menu, entries);
}

async function listCollections() {
  let names = [];
  try {
    names = (await api.get("collections", { quiet: true })).collections.map((one) => one.name);
  } catch {
    // Without the right to list them there is the default one, and the one in the address.
  }
  const { collection } = place();
  if (collection && !names.includes(collection)) names.push(collection);
  const options = names.map((name) => el("option", { value: name }, name));
  fill(choice, el("option", { value: "" }, "default"), options);
  choice.value = collection;
}

choice.addEventListener("change", () => {
  location.hash = address(place().name, {}, choice.value);
});
document.getElementById("skip").addEventListener("click", () => main.focus());
window.addEventListener("hashchange", () => {
  choice.value = place().collection;
  show();
});
window.addEventListener("collections-changed", listCollections);

startTheme(document.getElementById("theme"));
listCollections();
show();
