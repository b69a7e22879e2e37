/** How many documents have which metadata, as links that narrow a search. */
import { inCollection, post } from "./api.js";
import { el } from "./dom.js";
import { number } from "./ui.js";

const MOST_FIELDS = 4;
const VALUES = 6;

/**
 * A box with the counts of the metadata fields that the hits have; null without any.
 *
 * The counts are those of all documents under the filters, so they are asked for apart: `query`
 * is only there because a search needs one. `narrow(filters)` adds a condition.
 */
export async function facetBox({ hits, query, filters, collection, narrow, signal }) {
  const names = [...new Set(hits.flatMap((hit) => Object.keys(hit.metadata ?? {})))];
  if (names.length === 0) return null;
  const body = {
    query,
    filters,
    top_k: 1,
    num_candidates: 1,
    rerank: false,
    facets: names.slice(0, MOST_FIELDS),
    facet_values: VALUES,
  };
  const { facets } = await post(inCollection(collection, "search"), body, { signal });
  const shown = Object.entries(facets ?? {}).filter(([, facet]) => facet.values.length > 1);
  if (shown.length === 0) return null;
  return el(
    "section",
    { class: "box facets" },
    el("h2", {}, "Narrow down"),
    shown.map(([name, facet]) => values(name, facet, narrow)),
  );
}

function values(name, { values: found, other }, narrow) {
  const rows = found.map(({ value, count }) =>
    el(
      "li",
      {},
      el("button", { type: "button", onclick: () => narrow({ [name]: value }) }, `${value}`),
      el("span", { class: "figure muted" }, number(count)),
    ),
  );
  return el(
    "div",
    {},
    el("h3", {}, name),
    el("ul", { class: "plain" }, rows),
    other > 0 && el("p", { class: "hint" }, `and ${number(other)} with other values`),
  );
}
