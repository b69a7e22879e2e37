/** A note above a search while documents are still being stored. */
import { get, pause } from "./api.js";
import { el, fill } from "./dom.js";
import { number } from "./ui.js";

const REFRESH_S = 2;

/** An element that shows the running job, and nothing without one. It ends with `signal`. */
export function underway(signal) {
  const node = el("div", { class: "underway" });
  follow(node, signal).catch(() => fill(node)); // left, or a key that may not see jobs
  return node;
}

async function follow(node, signal) {
  for (;;) {
    const { jobs } = await get("jobs", { query: { limit: 1 }, signal, quiet: true });
    const job = jobs.find((one) => one.state === "running");
    fill(node, job && [bar(job), words(job)]);
    if (!job) return;
    await pause(REFRESH_S, signal);
  }
}

function bar({ done, refused, total }) {
  const label = { "aria-label": "Documents stored" };
  return el("progress", { max: Math.max(1, total), value: done + refused, ...label });
}

function words({ done, total, seconds_left: left, collection }) {
  const more = left ? `, about ${Math.ceil(left)} s left` : "";
  const stored = `${number(done)} of ${number(total)} documents are in “${collection}”${more}.`;
  return el("span", { class: "hint" }, `${stored} Searches find what is there so far.`);
}
