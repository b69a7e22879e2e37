/** What the second pass changed: each hit's rank in both stages, joined by a line. */
import { el, svg } from "./dom.js";

const ROW = 22;
const TOP = 30;
const LEFT = 64;
const RIGHT = 176;
const WIDTH = 240;

/** Null where there is nothing to compare. */
export function rankChart(hits) {
  if (hits.length < 2 || hits.every((hit) => hit.rerank_score === null)) return null;
  // Ranks of the first stage may be far apart: only their order is drawn.
  const first = hits.toSorted((a, b) => a.retrieval_rank - b.retrieval_rank);
  const y = (place) => TOP + place * ROW;
  const rows = hits.map((hit, place) => {
    const before = first.indexOf(hit);
    const kind = before > place ? "up" : "level";
    return [
      svg("line", { class: kind, x1: LEFT, x2: RIGHT, y1: y(before), y2: y(place) }),
      svg("text", { x: LEFT - 10, y: y(before) + 5, class: "end" }, `#${hit.retrieval_rank}`),
      svg("text", { x: RIGHT + 10, y: y(place) + 5 }, `#${hit.rank}`),
    ];
  });
  const height = y(hits.length - 1) + 16;
  return el(
    "section",
    { class: "box rank-chart" },
    el("h2", {}, "What the second pass changed"),
    svg(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": spoken(hits) },
      svg("text", { x: LEFT, y: 12, class: "middle head" }, "first"),
      svg("text", { x: RIGHT, y: 12, class: "middle head" }, "second"),
      rows,
    ),
  );
}

function spoken(hits) {
  const moves = hits.map((hit) => `${hit.retrieval_rank} became ${hit.rank}`);
  return `Ranks of the first pass and of the second: ${moves.join(", ")}`;
}
