/** Parts that several views use. */
import { el, fill } from "./dom.js";

const NOTE_S = 6;
let made = 0;

/** An id that no other element has. */
export const newId = (prefix) => `${prefix}-${++made}`;

/** The heading of a view, what the view is for, and its buttons. */
export function pageTitle(title, about, ...actions) {
  return el(
    "div",
    { class: "page-title" },
    el("div", {}, el("h1", {}, title), about && el("p", { class: "muted" }, about)),
    actions.length > 0 && el("div", { class: "actions" }, actions),
  );
}

/** A button. `kind` is "primary", "quiet", "danger" or nothing. */
export function button(text, onclick, kind = "", properties = {}) {
  return el("button", { type: "button", class: kind, onclick, ...properties }, text);
}

/** A labelled control: `field("Title", el("input"), "shown with hits")`. */
export function field(label, control, hint) {
  control.id ||= newId("field");
  const hintId = hint && newId("hint");
  if (hintId) control.setAttribute("aria-describedby", hintId);
  return el(
    "div",
    { class: "field" },
    el("label", { for: control.id }, label),
    control,
    hint && el("p", { class: "hint", id: hintId }, hint),
  );
}

/** A select with `[value, text]` pairs. */
export function select(pairs, value, properties = {}) {
  const options = pairs.map(([key, text]) => el("option", { value: key }, text));
  const node = el("select", properties, options);
  node.value = value;
  return node;
}

/** A table whose cells are texts or elements. On a phone each row becomes a block. */
export function table(caption, heads, rows) {
  const head = heads.map((name) => el("th", { scope: "col" }, name));
  const body = rows.map((cells) =>
    el("tr", {}, cells.map((cell, at) => el("td", { "data-head": heads[at] }, cell))),
  );
  return el(
    "table",
    {},
    el("caption", { class: "unseen" }, caption),
    el("thead", {}, el("tr", {}, head)),
    el("tbody", {}, body),
  );
}

/** A box with an error, and which field is wrong. */
export function errorBox(error) {
  const details = (error.details ?? []).map((one) =>
    el("li", {}, el("code", {}, one.field), ` ${one.message}`),
  );
  return el(
    "div",
    { class: "box error", role: "alert" },
    el("p", {}, error.message),
    details.length > 0 && el("ul", {}, details),
    error.requestId && el("p", { class: "hint" }, "Request ", el("code", {}, error.requestId)),
  );
}

/** Say something at the edge of the page for a few seconds. */
export function notify(text) {
  const note = el("p", { class: "note" }, text);
  document.getElementById("notes").append(note);
  setTimeout(() => note.remove(), NOTE_S * 1000);
}

/** Open a dialog; it is removed when it closes. `close()` closes it. */
export function openDialog(title, build, kind = "") {
  const titleId = newId("dialog");
  const node = el("dialog", { class: kind, "aria-labelledby": titleId });
  const close = () => node.close();
  fill(
    node,
    el(
      "div",
      { class: "dialog-top" },
      el("h2", { id: titleId }, title),
      button("Close", close, "quiet"),
    ),
    build(close),
  );
  node.addEventListener("close", () => node.remove());
  document.body.append(node);
  node.showModal();
  return node;
}

/**
 * A form whose errors show above its buttons. `submit` may throw; the form is closed to a second
 * click until it is done.
 */
export function form(fields, label, submit, kind = "primary", cancel = null) {
  const problems = el("div");
  const send = el("button", { class: kind }, label);
  const node = el(
    "form",
    { novalidate: true },
    fields,
    problems,
    el("div", { class: "actions" }, cancel && button("Cancel", cancel), send),
  );
  node.addEventListener("submit", async (event) => {
    event.preventDefault();
    send.disabled = true;
    fill(problems);
    try {
      await submit();
    } catch (error) {
      if (error.name !== "AbortError") fill(problems, errorBox(error));
    }
    send.disabled = false;
  });
  return node;
}

/** Ask before something is lost. `run` may throw. */
export function confirm(title, text, label, run) {
  openDialog(title, (close) => {
    const ask = async () => {
      await run();
      close();
    };
    return form([el("p", {}, text)], label, ask, "danger", close);
  });
}

/** A number with separators; a dash for none. */
export function number(value) {
  return value === null || value === undefined ? "–" : value.toLocaleString("en");
}

/** 0.937 as `94%`. */
export function percent(share) {
  return `${Math.round(share * 100)}%`;
}
