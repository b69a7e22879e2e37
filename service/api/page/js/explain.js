/** Why a hit is where it is. */
import { confidence } from "./confidence.js";
import { el } from "./dom.js";
import { openDialog, percent } from "./ui.js";

/** Open the explanation of a hit of a search's answer. */
export function openExplanation(hit, answer) {
  openDialog(hit.title || hit.id, () => body(hit, answer), "wide");
}

function body(hit, answer) {
  const { rerank, models } = answer;
  return el(
    "div",
    { class: "stack" },
    el("p", {}, "For the question ", el("q", {}, answer.query)),
    step("1", "First pass: recall", [
      `The encoder ${models.encoder} put this passage at rank ${hit.retrieval_rank}.`,
      fact("cosine of question and passage", hit.retrieval_score.toFixed(5)),
      hit.sparse_score !== null && fact("BM25, from shared words", hit.sparse_score.toFixed(3)),
    ]),
    step("2", "Second pass: rerank", [
      hit.rerank_score === null
        ? `The reranker did not read this passage (${rerank.reason ?? rerank.status}).`
        : `The reranker ${models.reranker} read ${rerank.scored} passages beside the question, ` +
          `and this one came to rank ${hit.rank}.`,
      hit.rerank_score !== null && fact("score", hit.rerank_score.toFixed(3)),
      hit.truncated && "The reranker did not read the end of this passage.",
    ]),
    step("3", "Confidence", [
      confidence(hit),
      hit.probability === null
        ? "No calibration applies to this hit, so it has no probability."
        : `The calibration ${models.calibration} turns the score into a probability: of 100 hits ` +
          `with this score, about ${percent(hit.probability).replace("%", "")} are relevant.`,
    ]),
  );
}

function step(mark, title, lines) {
  return el(
    "section",
    { class: "step" },
    el("span", { class: "mark", "aria-hidden": "true" }, mark),
    el("div", {}, el("h3", {}, title), lines.filter(Boolean).map((line) => el("p", {}, line))),
  );
}

function fact(name, value) {
  return [`${name}: `, el("code", {}, value)];
}
