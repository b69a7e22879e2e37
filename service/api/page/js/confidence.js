/** Confidence at a glance: a word, a probability and a bar. */
import { el, svg } from "./dom.js";
import { percent } from "./ui.js";

/** The badge of something that has `confidence` and `probability`. */
export function confidence({ confidence: word, probability }) {
  const known = probability !== null && probability !== undefined;
  const title = known
    ? `Of 100 such hits, about ${Math.round(probability * 100)} are relevant`
    : "No calibration applies to this hit, so it has no probability";
  return el(
    "span",
    { class: `confidence ${word}`, title },
    word,
    known && bar(probability),
    known && el("span", { class: "figure" }, percent(probability)),
  );
}

function bar(share) {
  return svg(
    "svg",
    { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { class: "rest", width: 100, height: 10, rx: 5 }),
    svg("rect", { width: Math.max(4, share * 100), height: 10, rx: 5 }),
  );
}
