/** The results of an evaluation and of a calibration. */
import { depthChart, reliabilityChart } from "./charts.js";
import { el } from "./dom.js";
import { address } from "./place.js";
import { number, percent, table } from "./ui.js";

const MEASURES = [
  ["ndcg@10", "nDCG@10"],
  ["mrr@10", "MRR@10"],
  ["recall@100", "Recall@100"],
  ["accuracy@1", "Right first hit"],
];
const WORDS = ["high", "medium", "low", "uncalibrated"];
const WHY = {
  not_found: "not among the candidates",
  below_unjudged: "below hits without a label",
  below_not_relevant: "below hits that are not relevant",
};
const CHANGED = "Hits whose confidence changed";
const GRADES = ["not relevant", "partly", "relevant"];

/** Measures, drawings and lost documents. `texts` has the questions by their ids. */
export function evaluationReport(result, collection, texts) {
  const { confidence, depths } = result;
  return el(
    "div",
    { class: "stack" },
    judgedShare(result.coverage),
    measures(result.measures),
    el("div", { class: "charts" }, [
      confidence && reliabilityChart(confidence.reliability),
      depths.length > 1 && depthChart(depths),
    ]),
    lost(result.lost, collection, texts),
  );
}

/** How the words changed, how sure that is, and where. */
export function calibrationReport(result) {
  return el(
    "div",
    { class: "stack" },
    el("h3", {}, "Confidence, before and after"),
    table(
      "Confidence, before and after",
      ["Confidence", "Before", "After"],
      WORDS.map((word) => [
        el("span", { class: `confidence ${word}` }, word),
        number(result.words.before[word]),
        number(result.words.after[word]),
      ]),
    ),
    el("p", { class: "hint" }, "Counted over the first ten hits of all labelled questions."),
    result.warnings.map((text) => el("p", { class: "box warn" }, text)),
    moves(result.moves),
    changed(result.changed),
  );
}

function judgedShare({ shown, shown_judged: judged }) {
  const share = shown ? judged / shown : 0;
  const found = `${number(judged)} of ${number(shown)} have a label (${percent(share)}).`;
  const text = `Of the first ten hits of each question, ${found}`;
  const more = " The others count as not relevant, so the measures are a lower bound.";
  return el("p", { class: "muted" }, text + (judged < shown ? more : ""));
}

function measures({ retrieval, reranked }) {
  if (!retrieval || !reranked) {
    return el("p", { class: "box" }, "No hit is labelled as relevant, so there is nothing to measure.");
  }
  const rows = MEASURES.map(([key, title]) => [title, range(retrieval[key]), range(reranked[key])]);
  return table("Measures", ["Measure", "First pass", "Both passes"], rows);
}

function question(text, collection) {
  return text && el("a", { href: address("search", { q: text }, collection) }, text);
}

/** A measure with its interval, if there are several questions. */
function range({ value, low, high }) {
  const reach = low === null ? "" : `${low.toFixed(2)} to ${high.toFixed(2)}`;
  return el("span", { class: "figure" }, value.toFixed(3), " ", el("small", {}, reach));
}

function moves(rows) {
  if (!rows.length) return null;
  const cells = rows.map(({ before, after, low, high }) => [
    percent(before),
    percent(after),
    `${percent(low)} to ${percent(high)}`,
  ]);
  const heads = ["Probability before", "Now", "95 % interval"];
  return [el("h3", {}, "How probabilities changed"), table("How probabilities changed", heads, cells)];
}

function changed(rows) {
  if (!rows.length) return el("p", {}, "No hit changed its confidence.");
  const cells = rows.map((row) => [
    el("code", {}, row.document),
    row.grade === null ? "–" : GRADES[row.grade],
    el("span", { class: `confidence ${row.before}` }, row.before),
    el("span", { class: `confidence ${row.after}` }, row.after),
  ]);
  const heads = ["Hit", "Label", "Before", "After"];
  return [el("h3", {}, CHANGED), table(CHANGED, heads, cells)];
}

function lost(rows, collection, texts) {
  if (!rows.length) return el("p", {}, "No relevant document is lost.");
  const cells = rows.map((row) => [
    question(texts.get(row.query_id), collection) ?? row.query_id,
    el("code", {}, row.document),
    row.rank === null ? "–" : `#${row.rank}`,
    WHY[row.reason],
  ]);
  return [
    el("h3", {}, "Lost documents"),
    el("p", { class: "hint" }, "Relevant documents that search does not find, or shows too low."),
    table("Lost documents", ["Question", "Document", "Rank", "Why"], cells),
  ];
}
