/** Jobs: uploads and their progress. */
import { call, get, inCollection, pause, remove } from "../api.js";
import { el, fill } from "../dom.js";
import { button, field, form, notify, number, openDialog, pageTitle, table } from "../ui.js";

const REFRESH_S = 1;
const AT_WORK = ["waiting", "queued", "running"];

export async function show({ main, collection, signal }) {
  const list = el("div");
  fill(
    main,
    pageTitle(
      "Jobs",
      "Uploads, evaluations and calibrations. An upload is on disk once it is accepted; its job " +
        "continues after a restart.",
      button("Upload a file", upload, "primary"),
    ),
    list,
  );
  let drawn = "";
  for (;;) {
    const { jobs } = await get("jobs", { signal });
    if (JSON.stringify(jobs) !== drawn) draw(jobs);
    drawn = JSON.stringify(jobs);
    await pause(REFRESH_S, signal);
  }

  function draw(jobs) {
    const held = document.activeElement?.getAttribute("aria-label");
    const rows = jobs.map((job) => [
      el("div", {}, job.collection, el("div", { class: "hint" }, job.kind, " · ", when(job.created))),
      progress(job),
      el("span", { class: `state ${tone(job.state)}` }, job.state),
      el(
        "div",
        { class: "actions" },
        button("Details", () => details(job), "", { "aria-label": `Details of ${job.job_id}` }),
        !job.finished &&
          button("Cancel", () => cancel(job), "danger", { "aria-label": `Cancel ${job.job_id}` }),
      ),
    ]);
    const heads = ["Collection", "Progress", "State", ""];
    fill(list, rows.length ? table("Jobs", heads, rows) : nothing());
    // Drawing again must not take the focus away.
    if (held) list.querySelector(`[aria-label="${CSS.escape(held)}"]`)?.focus();
  }

  async function cancel(job) {
    await remove(`jobs/${job.job_id}`);
    notify("Cancelled. What was stored stays.");
  }

  async function details(job) {
    const full = await get(`jobs/${job.job_id}`, { signal });
    const refusals = full.refusals.map((one) => [
      String(one.line),
      one.id ?? "–",
      [one.field && [el("code", {}, one.field), " "], one.reason],
    ]);
    const body = [
      el("p", { class: "mono muted" }, full.job_id),
      el("p", {}, outcome(full)),
      full.reason && el("p", { class: "box error" }, full.reason),
      full.note && el("p", { class: "box warn" }, full.note),
      refusals.length > 0 && table("Refused lines", ["Line", "Id", "Why"], refusals),
    ];
    openDialog("Job", () => el("div", { class: "stack" }, body.filter(Boolean)), "wide");
  }

  function upload() {
    const file = el("input", { type: "file", accept: ".jsonl,.ndjson" });
    const hint =
      "JSONL: one document a line, with id, text, and perhaps title and metadata. For " +
      "other files use `secondpass ingest --url`.";
    openDialog("Upload a file", (close) => {
      const send = async () => {
        if (!file.files.length) throw new Error("Choose a file.");
        const options = { body: file.files[0], type: "application/x-ndjson" };
        await call("POST", inCollection(collection, "documents/bulk"), options);
        close();
        notify("Accepted.");
      };
      return form([field("File", file, hint)], "Upload", send, "primary", close);
    });
  }
}

function nothing() {
  return el("p", { class: "box" }, "There are no jobs yet.");
}

function outcome({ kind, done, refused, total }) {
  if (kind !== "upload") return `${number(done)} of ${number(total)} questions.`;
  return `${number(done)} stored, ${number(refused)} refused, ${number(total)} in all.`;
}

function progress(job) {
  const { done, refused, total, rate, seconds_left: left } = job;
  const text = `${number(done + refused)} of ${number(total)}`;
  const more = [
    refused > 0 && `${number(refused)} refused`,
    !job.finished && rate && `${rate.toFixed(0)} a second`,
    !job.finished && left && `${Math.ceil(left)} s left`,
  ].filter(Boolean);
  const bar = el("progress", { max: Math.max(1, total), value: done + refused });
  bar.setAttribute("aria-label", `Progress: ${text}`);
  return el("div", { class: "progress" }, bar, el("span", { class: "hint figure" }, [text, ...more].join(" · ")));
}

function tone(state) {
  if (state === "done") return "good";
  return AT_WORK.includes(state) ? "" : "bad";
}

function when(time) {
  return new Date(time).toLocaleString();
}
