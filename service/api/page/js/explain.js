/** Why a hit is where it is. */
import { inCollection, post } from "./api.js";
import { confidence } from "./confidence.js";
import { el, fill } from "./dom.js";
import { errorBox, openDialog, table } from "./ui.js";

/** Open the explanation of a hit. `request` is the search that found it. */
export function openExplanation(hit, { answer, request, collection }) {
  const body = el("div", { class: "stack" }, el("p", { class: "muted" }, "Asking the server…"));
  openDialog(hit.title || hit.id, () => body, "wide");
  explain(hit, request, collection).then(
    (explained) => fill(body, steps(explained, answer)),
    (error) => fill(body, errorBox(error)),
  );
}

/** The same search again, this time with explanations. */
async function explain(hit, request, collection) {
  const body = { ...request, offset: hit.rank - 1, top_k: 1, explain: true };
  const answer = await post(inCollection(collection, "search"), body);
  const again = answer.hits.find((one) => one.id === hit.id);
  if (!again?.explanation) throw new Error("The documents have changed: search again.");
  return again;
}

function steps(hit, { query, models, rerank }) {
  const { dense, sparse, retrieval, rerank: second, final, judgement } = hit.explanation;
  return [
    el("p", {}, "For the question ", el("q", {}, query)),
    step("1", "First pass: recall", [
      `The encoder ${models.encoder} compares meanings: rank ${dense.rank}, cosine `,
      figure(dense.score, 5),
      sparse && [`; shared words: rank ${sparse.rank}, BM25 `, figure(sparse.score, 3)],
      `. In the order of the first pass it is number ${retrieval.rank}.`,
    ]),
    step(
      "2",
      "Second pass: rerank",
      second
        ? [
            `The reranker ${models.reranker} read ${rerank.scored} passages beside the question. ` +
              `By its score `,
            figure(second.score, 3),
            ` this one is number ${second.rank}, and number ${final.rank} in the end.`,
          ]
        : `The passage was not read again (${rerank.reason ?? rerank.status}).`,
      matches(hit.explanation),
    ),
    step("3", "Confidence", [confidence(hit), el("p", {}, sentence(judgement.reason))]),
  ];
}

/** Which words of the question fit which words of the passage, and what that adds. */
function matches({ matches: found, similarity_points: base }) {
  if (found.length === 0) return null;
  const most = Math.max(...found.map((one) => one.points));
  const rows = found.map((one) => [
    el("b", {}, one.query),
    one.passage,
    el("meter", { min: 0, max: most, value: Math.max(0, one.points), "aria-hidden": "true" }),
    el("span", { class: "figure" }, one.points.toFixed(2)),
  ]);
  const heads = ["In the question", "In the passage", "", "Points"];
  return [
    table("Words that add most to the score", heads, rows),
    base !== null &&
      el("p", { class: "hint" }, "The cosine adds ", figure(base, 2), "; other words add the rest."),
  ];
}

function step(mark, title, text, ...more) {
  return el(
    "section",
    { class: "step" },
    el("span", { class: "mark", "aria-hidden": "true" }, mark),
    el("div", {}, el("h3", {}, title), el("div", {}, text), more),
  );
}

function figure(value, digits) {
  return el("code", {}, value.toFixed(digits));
}

function sentence(text) {
  return `${text[0].toUpperCase()}${text.slice(1)}.`;
}
