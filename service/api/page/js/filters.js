/** Rows of conditions on metadata, for the API's `filters`. */
import { el, fill } from "./dom.js";
import { button, select } from "./ui.js";

const OPERATORS = [
  ["eq", "is"],
  ["gte", "is at least"],
  ["lte", "is at most"],
  ["exists", "has any value"],
];

/** `node` holds the rows; `text()` gives them as JSON ("" for none), `set(json)` shows others. */
export function conditionRows() {
  const list = el("div", { class: "stack" });
  let kept = null; // a filter that rows cannot show, such as one with `or`
  const add = (condition) => list.append(row(condition));
  const node = el(
    "fieldset",
    { class: "conditions" },
    el("legend", {}, "Only documents whose metadata"),
    list,
    button("Add a condition", () => {
      add({});
      list.lastElementChild.querySelector("input").focus();
    }),
  );

  function text() {
    const rows = [...list.children].map((one) => one.condition?.()).filter(Boolean);
    if (kept) rows.push(kept);
    if (rows.length === 0) return "";
    return JSON.stringify(rows.length === 1 ? rows[0] : { and: rows });
  }

  function set(json) {
    if ((json ?? "") === text()) return;
    const { conditions, rest } = read(json ? JSON.parse(json) : {});
    kept = rest;
    fill(list, conditions.map(row), rest && foreign(rest, () => (kept = null)));
  }

  return { node, text, set };
}

function row({ name = "", operator = "eq", value = "" }) {
  const field = el("input", { "aria-label": "Field", placeholder: "field", value: name });
  const choice = select(OPERATORS, operator, { "aria-label": "Condition" });
  const wanted = el("input", { "aria-label": "Value", placeholder: "value", value });
  const node = el("div", { class: "condition" }, field, choice, wanted);
  const show = () => (wanted.hidden = choice.value === "exists");
  choice.addEventListener("change", show);
  show();
  node.append(button("Remove", () => node.remove(), "quiet"));
  node.condition = () => {
    if (!field.value.trim()) return null;
    const given = choice.value === "exists" ? true : typed(wanted.value.trim());
    return { [field.value.trim()]: choice.value === "eq" ? given : { [choice.value]: given } };
  };
  return node;
}

function foreign(filters, drop) {
  const node = el("div", { class: "condition" }, el("code", {}, JSON.stringify(filters)));
  const leave = () => {
    drop();
    node.remove();
  };
  node.append(button("Remove", leave, "quiet"));
  return node;
}

/** What was typed, as a number or boolean where it is one; quotes make it a text. */
function typed(text) {
  try {
    const value = JSON.parse(text);
    if (["number", "boolean", "string"].includes(typeof value)) return value;
  } catch {
    // plain text
  }
  return text;
}

function untyped(value) {
  const isPlain = typeof value === "string" && typed(value) === value;
  return isPlain ? value : JSON.stringify(value);
}

/** The conditions that rows can show, and the rest of the filter. */
function read(filters) {
  const parts = Object.keys(filters).join() === "and" ? filters.and : [filters];
  const conditions = [];
  const rest = [];
  for (const part of parts) {
    for (const [name, condition] of Object.entries(part)) {
      const [operator, value] = simple(name, condition);
      if (operator) conditions.push({ name, operator, value: untyped(value) });
      else rest.push({ [name]: condition });
    }
  }
  if (rest.length === 0) return { conditions, rest: null };
  return { conditions, rest: rest.length === 1 ? rest[0] : { and: rest } };
}

function simple(name, condition) {
  if (["and", "or", "not"].includes(name) || Array.isArray(condition)) return [];
  if (typeof condition !== "object") return ["eq", condition];
  const entries = Object.entries(condition ?? {});
  const [[operator, value] = []] = entries;
  const known = OPERATORS.some(([key]) => key === operator);
  if (entries.length !== 1 || !known || value === false || value === null) return [];
  return [operator, value];
}
