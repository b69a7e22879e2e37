/** How long each stage of a search took. */
import { el, svg } from "./dom.js";

/** A bar of the stages, and their figures. */
export function timings({ timings_ms: times, rerank }) {
  const stages = Object.entries(times).filter(([name]) => name !== "total");
  const whole = stages.reduce((sum, [, ms]) => sum + ms, 0) || 1;
  let at = 0;
  const parts = stages.map(([, ms], place) => {
    const width = (ms / whole) * 100;
    const part = svg("rect", { x: at, width, height: 10, class: `stage-${place % 4}` });
    at += width;
    return part;
  });
  const bar = { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" };
  const rows = stages.map(([name, ms], place) => [
    el("dt", {}, el("span", { class: `dot stage-${place % 4}` }), name),
    el("dd", { class: "figure" }, `${ms.toFixed(1)} ms`),
  ]);
  return el(
    "section",
    { class: "box timings" },
    el("h2", {}, `${Math.round(times.total)} ms`),
    svg("svg", bar, parts),
    el("dl", {}, rows),
    el("p", { class: "hint" }, secondPass(rerank)),
  );
}

function secondPass({ status, scored, reason }) {
  if (status === "complete") return `The second pass read ${scored} passages.`;
  return `Second pass: ${status}, ${scored} passages read${reason ? ` (${reason})` : ""}.`;
}
