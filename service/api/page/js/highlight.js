/** A passage with its likeliest parts and the words of the question marked. */
import { el } from "./dom.js";

const MOST_POINTS = 600;
const BEFORE = 160;

/**
 * Nodes for a passage. `highlights` have `start`, `end` (code points, as Python counts) and `kind`:
 * a `part` is marked, a `word` is bold. A long passage is cut around its first part, with a button
 * that shows all of it.
 */
export function passage(text, highlights) {
  const points = Array.from(text);
  const spans = highlights ?? [];
  const node = el("p", { class: "passage" });
  const show = (from, to) => node.replaceChildren(...marked(points, spans, from, to));
  if (points.length <= MOST_POINTS) {
    show(0, points.length);
    return node;
  }
  const first = spans.find((span) => span.kind === "part") ?? spans[0];
  const from = first ? wordStart(points, Math.max(0, first.start - BEFORE)) : 0;
  const to = Math.max(first?.end ?? 0, from + MOST_POINTS);
  show(from, to);
  const more = el("button", { type: "button", class: "quiet more" }, "Show the whole passage");
  more.addEventListener("click", () => {
    show(0, points.length);
    more.remove();
  });
  return [node, more];
}

/** The points from `from` to `to`, cut wherever a span begins or ends. */
function marked(points, spans, from, to) {
  const last = Math.min(to, points.length);
  const edges = spans.flatMap((span) => [span.start, span.end]);
  const inside = edges.filter((edge) => edge > from && edge < last);
  const borders = [...new Set([from, ...inside, last])].sort((a, b) => a - b);
  const nodes = borders.slice(0, -1).map((start, place) => {
    const piece = points.slice(start, borders[place + 1]).join("");
    return styled(piece, kindsAt(spans, start));
  });
  return [from > 0 && "… ", ...nodes, last < points.length && " …"].filter(Boolean);
}

function kindsAt(spans, point) {
  return new Set(spans.filter((s) => s.start <= point && point < s.end).map((s) => s.kind));
}

function styled(piece, kinds) {
  const inner = kinds.has("word") ? el("b", {}, piece) : piece;
  return kinds.has("part") ? el("mark", {}, inner) : inner;
}

/** The start of a word at or after a place. */
function wordStart(points, place) {
  if (place === 0) return 0;
  const gap = points.findIndex((point, at) => at >= place && /\s/u.test(point));
  return gap < 0 ? place : gap + 1;
}
