/** Three buttons at a hit: is it relevant to the question? */
import { inCollection, post } from "./api.js";
import { el } from "./dom.js";
import { button, notify } from "./ui.js";

export const JUDGEMENTS = [
  ["relevant", "Yes"],
  ["partly", "Partly"],
  ["not_relevant", "No"],
];

const given = new Map();
/** What was pressed since the page was opened, so that a search again shows it. */

/** Press a button to label the hit, press it again to take the label back. */
export function labelButtons(hit, query, collection) {
  const key = JSON.stringify([collection, query, hit.id]);
  const title = hit.title || hit.id;
  const buttons = JUDGEMENTS.map(([judgement, text]) =>
    button(text, () => press(judgement), "quiet", { "aria-label": `${text}: ${title}` }),
  );
  draw();
  return el(
    "div",
    { class: "label-buttons", role: "group", "aria-label": `Is this relevant? ${title}` },
    el("span", { class: "hint", "aria-hidden": "true" }, "Relevant?"),
    buttons,
  );

  async function press(judgement) {
    const next = given.get(key) === judgement ? null : judgement;
    const body = { query, hits: [{ id: hit.id, judgement: next }] };
    try {
      await post(inCollection(collection, "labels"), body);
      given.set(key, next);
      draw();
    } catch (error) {
      notify(error.message);
    }
  }

  function draw() {
    JUDGEMENTS.forEach(([judgement], place) => {
      buttons[place].setAttribute("aria-pressed", String(given.get(key) === judgement));
    });
  }
}
