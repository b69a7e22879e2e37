/** Drawings of an evaluation: the reliability diagram and the depth curve. */
import { el, svg } from "./dom.js";
import { percent } from "./ui.js";

const WIDTH = 320;
const HEIGHT = 240;
const LEFT = 44;
const RIGHT = 308;
const TOP = 12;
const BOTTOM = 200;

/** Mean probability of each bin against the share that is relevant, with its 95 % interval. */
export function reliabilityChart(bins) {
  const x = scale(0, 1, LEFT, RIGHT);
  const y = scale(0, 1, BOTTOM, TOP);
  const most = Math.max(...bins.map((bin) => bin.n));
  const marks = bins.map((bin) => [
    svg("line", {
      class: "reach",
      x1: x(bin.probability),
      x2: x(bin.probability),
      y1: y(bin.low),
      y2: y(bin.high),
    }),
    svg("circle", {
      cx: x(bin.probability),
      cy: y(bin.found),
      r: 3 + 4 * Math.sqrt(bin.n / most),
    }),
  ]);
  const diagonal = svg("line", { class: "ideal", x1: x(0), x2: x(1), y1: y(0), y2: y(1) });
  const shares = [0, 0.5, 1].map((share) => [share, percent(share)]);
  return chart(
    "Reliability",
    "On the dashed line, hits are relevant as often as their probability says. Bars are 95 % " +
      "intervals.",
    bins.map((bin) => `${percent(bin.probability)}: ${percent(bin.found)} of ${bin.n}`),
    [axes(x, y, shares, shares, "probability", "relevant"), diagonal, marks],
  );
}

/** nDCG@10 against the number of candidates that are reranked. */
export function depthChart(rows) {
  const x = scale(0, Math.max(1, rows.at(-1).depth), LEFT, RIGHT);
  const values = rows.map((row) => row.ndcg);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const room = Math.max(0.01, (most - least) / 4);
  const [low, high] = [Math.max(0, least - room), Math.min(1, most + room)];
  const y = scale(low, high, BOTTOM, TOP);
  const points = rows.map((row) => `${x(row.depth)},${y(row.ndcg)}`).join(" ");
  const depths = [rows[0], rows.at(-1)].map((row) => [row.depth, `${row.depth}`]);
  const sides = [low, high].map((value) => [value, value.toFixed(2)]);
  return chart(
    "Depth of the second pass",
    "nDCG@10 for each number of candidates that are reranked.",
    rows.map((row) => `${row.depth}: ${row.ndcg.toFixed(3)}`),
    [
      axes(x, y, depths, sides, "candidates reranked", "nDCG@10"),
      svg("polyline", { points }),
      rows.map((row) => svg("circle", { cx: x(row.depth), cy: y(row.ndcg), r: 3.5 })),
    ],
  );
}

function chart(title, about, spoken, parts) {
  return el(
    "figure",
    { class: "box chart" },
    el("figcaption", {}, el("h3", {}, title), el("p", { class: "hint" }, about)),
    svg(
      "svg",
      {
        viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
        role: "img",
        "aria-label": `${title}. ${spoken.join("; ")}`,
      },
      parts,
    ),
  );
}

function axes(x, y, below, beside, nameBelow, nameBeside) {
  return [
    svg("line", { class: "axis", x1: LEFT, x2: RIGHT, y1: BOTTOM, y2: BOTTOM }),
    svg("line", { class: "axis", x1: LEFT, x2: LEFT, y1: TOP, y2: BOTTOM }),
    below.map(([value, text]) =>
      svg("text", { class: "middle", x: x(value), y: BOTTOM + 16 }, text),
    ),
    beside.map(([value, text]) => svg("text", { class: "end", x: LEFT - 6, y: y(value) + 4 }, text)),
    svg("text", { class: "middle head", x: (LEFT + RIGHT) / 2, y: HEIGHT - 4 }, nameBelow),
    svg("text", { class: "head", x: LEFT + 6, y: TOP + 4 }, nameBeside),
  ];
}

function scale(from, to, start, end) {
  return (value) => start + ((value - from) / (to - from || 1)) * (end - start);
}
