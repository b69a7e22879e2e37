/** Evaluate: what the labels say of search, and a calibration that is fitted to them. */
import { get, inCollection, pause, post, remove } from "../api.js";
import { el, fill } from "../dom.js";
import { calibrationReport, evaluationReport } from "../label_report.js";
import { address } from "../place.js";
import { button, confirm, errorBox, notify, number, pageTitle, percent, table } from "../ui.js";

const REFRESH_S = 0.5;
const ENOUGH = 10;
/** Judged hits from which a calibration can be fitted, if both kinds are among them. */

const MOST_SHOWN = 50;
const ORIGINS = {
  labels: "fitted to the labels of this collection",
  settings: "chosen by the operator",
  shipped: "shipped with the models",
};

export async function show({ main, collection, signal }) {
  const texts = new Map();
  const at = (path) => inCollection(collection, path);
  const labels = el("section", { class: "box stack" });
  const calibration = el("section", { class: "box stack" });
  const evaluation = el("section", { class: "box stack" });
  fill(
    main,
    pageTitle(
      "Evaluate",
      "Label hits in a search, then measure search by the labels and fit the confidence to them.",
    ),
    labels,
    calibration,
    evaluation,
  );
  const started = {
    calibration: part(calibration, "Confidence", "Calibrate", "calibration", calibrationReport),
    evaluation: part(evaluation, "Measures", "Evaluate", "evaluation", (result) =>
      evaluationReport(result, collection, texts),
    ),
  };
  await drawLabels();
  await Promise.all([drawCalibration(), showEarlier()]);

  async function drawLabels() {
    const { queries, counts } = await get(at("labels"), { query: { limit: 1000 }, signal });
    for (const one of queries) texts.set(one.id, one.query);
    const rows = queries.slice(0, MOST_SHOWN).map((one) => [
      el("a", { href: address("search", { q: one.query }, collection) }, one.query),
      number(one.hits.length),
      button("Delete", () => forget(one), "danger", { "aria-label": `Delete labels: ${one.query}` }),
    ]);
    fill(
      labels,
      el("h2", {}, "Labels"),
      coverage(counts),
      rows.length > 0 && table("Labelled questions", ["Question", "Hits", ""], rows),
      counts.queries > rows.length &&
        el("p", { class: "hint" }, `The first ${rows.length} of ${number(counts.queries)}.`),
    );
  }

  function forget(query) {
    confirm("Delete labels", `All labels of "${query.query}" are deleted.`, "Delete", async () => {
      await remove(at("labels"), { query: { query_id: query.id } });
      await drawLabels();
    });
  }

  async function drawCalibration() {
    const now = await get(at("calibration"), { signal });
    const name = now.name ?? "none";
    const about = now.name ? ORIGINS[now.origin] : "no calibration applies";
    const starts = [
      now.high !== null && `high from ${percent(now.high)}`,
      now.medium !== null && `medium from ${percent(now.medium)}`,
    ].filter(Boolean);
    const restore = now.previous ?? "the server's own";
    fill(
      started.calibration.about,
      el("p", {}, "In use: ", el("code", {}, name), ` (${about})`),
      now.name && el("p", { class: "hint" }, starts.join(", ")),
      now.can_restore &&
        el("div", { class: "actions" }, button(`Go back to ${restore}`, goBack)),
    );
  }

  async function goBack() {
    const now = await post(at("calibration/restore"), {}, { signal });
    notify(`In use: ${now.name ?? "none"}`);
    await drawCalibration();
  }

  /** The parts of a section whose button starts a job. */
  function part(section, title, label, kind, report) {
    const about = el("div", { class: "stack" });
    const progress = el("div", { role: "status" });
    const result = el("div");
    const start = button(label, run, "primary");
    fill(section, el("h2", {}, title), about, el("div", { class: "actions" }, start), progress, result);
    return { about, follow };

    async function run() {
      start.disabled = true;
      fill(progress, el("p", { class: "muted" }, "Waiting for its turn."));
      try {
        await follow((await post(at(kind), {}, { signal })).job_id);
        if (kind === "calibration") await drawCalibration();
      } catch (error) {
        if (error.name !== "AbortError") fill(progress, errorBox(error));
      }
      start.disabled = false;
    }

    async function follow(id) {
      for (;;) {
        const job = await get(`jobs/${id}`, { signal });
        if (job.finished) {
          fill(progress, job.reason && el("p", { class: "box warn" }, `Not done: ${job.reason}`));
          if (job.result) fill(result, report(job.result));
          return;
        }
        const bar = el("progress", { max: Math.max(1, job.total), value: job.done });
        const text = job.total
          ? `${number(job.done)} of ${number(job.total)} questions`
          : "Getting ready, which takes a few seconds the first time.";
        bar.setAttribute("aria-label", text);
        fill(progress, el("div", { class: "progress" }, bar, el("span", { class: "hint" }, text)));
        await pause(REFRESH_S, signal);
      }
    }
  }

  /** The results of the last jobs, or the progress of those that run. */
  async function showEarlier() {
    const path = `collections/${encodeURIComponent(collection || "default")}`;
    const { name, created } = await get(path, { signal });
    const made = new Date(created).setMilliseconds(0); // jobs have whole seconds
    const { jobs } = await get("jobs", { query: { limit: 1000 }, signal });
    const following = Object.entries(started).map(([kind, { follow }]) => {
      const own = jobs.filter(
        (job) =>
          job.collection === name && job.kind === kind && new Date(job.created).getTime() >= made,
      );
      const last = own.find((job) => !job.finished || job.state === "done");
      return last && follow(last.job_id);
    });
    await Promise.all(following);
  }
}

function coverage({ queries, judged, relevant, not_relevant: not }) {
  if (!judged) {
    return el(
      "p",
      {},
      "There are none yet. ",
      el("a", { href: address("search") }, "Search"),
      ", and say for each hit whether it is relevant. Ten hits are enough for a first calibration.",
    );
  }
  const missing = [
    judged < ENOUGH && `${ENOUGH - judged} more hits`,
    !relevant && "one that is relevant",
    !not && "one that is not relevant",
  ].filter(Boolean);
  const bar = el("progress", { max: ENOUGH, value: Math.min(judged, ENOUGH) });
  bar.setAttribute("aria-label", `${judged} labels; ${ENOUGH} are enough to calibrate`);
  return [
    el(
      "p",
      {},
      `${number(judged)} hits of ${number(queries)} questions: ${number(relevant)} relevant or ` +
        `partly, ${number(not)} not.`,
    ),
    el("div", { class: "progress" }, bar),
    el(
      "p",
      { class: "hint" },
      missing.length
        ? `To calibrate, label ${missing.join(" and ")}.`
        : "Enough to calibrate. Labels of more questions make the calibration more certain.",
    ),
  ];
}
