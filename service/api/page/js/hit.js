/** A hit of a search as a card. */
import { confidence } from "./confidence.js";
import { el } from "./dom.js";
import { openExplanation } from "./explain.js";
import { passage } from "./highlight.js";
import { labelButtons } from "./label_buttons.js";
import { metadataChips } from "./metadata.js";
import { address } from "./place.js";
import { button } from "./ui.js";

/**
 * `search` has the `request`, its `answer`, the `collection`, and `narrow(filters)`, which searches
 * again with one more condition.
 */
export function hitCard(hit, search) {
  const { answer, collection, narrow } = search;
  const title = hit.title || hit.id;
  return el(
    "article",
    { class: "box hit" },
    el(
      "div",
      { class: "hit-top" },
      el("h3", {}, el("span", { class: "rank" }, `${hit.rank}`), title),
      confidence(hit),
    ),
    hit.title && el("p", { class: "mono muted" }, hit.id),
    place(hit),
    passage(hit.text ?? "", hit.highlights),
    metadataChips(hit.metadata, narrow),
    labelButtons(hit, answer.query, collection),
    el(
      "div",
      { class: "hit-foot" },
      ranks(hit, answer),
      el(
        "div",
        { class: "actions" },
        button("Why is it here?", () => openExplanation(hit, search), "quiet", {
          "aria-label": `Why is it here? ${title}`,
        }),
        el(
          "a",
          {
            href: address("documents", { id: hit.id }, collection),
            "aria-label": `Document: ${title}`,
          },
          "Document",
        ),
      ),
    ),
  );
}

/** The page and the headings of the passage, if the document tells. */
function place(hit) {
  const parts = [hit.page && `page ${hit.page}`, ...(hit.headings ?? [])].filter(Boolean);
  return parts.length > 0 && el("p", { class: "muted" }, parts.join(" › "));
}

/** The ranks of both stages side by side. */
export function ranks(hit, answer) {
  const second = answer.rerank.scored > 0 && hit.rerank_score !== null;
  const moved = hit.retrieval_rank - hit.rank;
  const arrow = moved > 0 ? `▲ ${moved} up` : moved < 0 ? `▼ ${-moved} down` : "same place";
  return el(
    "dl",
    { class: "ranks" },
    el("div", {}, el("dt", {}, "First pass"), el("dd", {}, `#${hit.retrieval_rank}`)),
    el(
      "div",
      {},
      el("dt", {}, "Second pass"),
      el("dd", {}, second ? `#${hit.rank}` : "not read", second && el("small", {}, arrow)),
    ),
  );
}
