/** Metadata as chips. */
import { el } from "./dom.js";

/** `narrow({field: value})` is called with a chip that is pressed; without it chips are text. */
export function metadataChips(metadata, narrow) {
  const entries = Object.entries(metadata ?? {}).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value]).map((one) => [name, one]),
  );
  if (entries.length === 0) return null;
  return el("ul", { class: "chips" }, entries.map(([name, value]) => chip(name, value, narrow)));
}

function chip(name, value, narrow) {
  const text = `${name}: ${value}`;
  if (!narrow || value === null) return el("li", {}, el("span", { class: "chip" }, text));
  const press = () => narrow({ [name]: value });
  return el(
    "li",
    {},
    el(
      "button",
      { type: "button", class: "chip", onclick: press, title: "Search only such documents" },
      text,
    ),
  );
}
