/** A text whose highlighted spans are marked. */
import { el } from "./dom.js";

/** Nodes for `text`. Spans have `start` and `end` in code points, as Python counts. */
export function marked(text, spans = []) {
  const points = Array.from(text);
  const nodes = [];
  let at = 0;
  for (const { start, end } of [...(spans ?? [])].sort((a, b) => a.start - b.start)) {
    if (end <= at) continue;
    const from = Math.max(start, at);
    nodes.push(points.slice(at, from).join(""));
    nodes.push(el("mark", {}, points.slice(from, end).join("")));
    at = end;
  }
  nodes.push(points.slice(at).join(""));
  return nodes;
}
