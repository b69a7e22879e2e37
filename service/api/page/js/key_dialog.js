/** Asks for an API key. */
import { storeKey } from "./api.js";
import { el } from "./dom.js";
import { field, form, openDialog } from "./ui.js";

let asking = null;

/** True once a key is there, false if the person gives up. Several callers share one dialog. */
export function askForKey(wasRefused) {
  asking ??= ask(wasRefused).finally(() => (asking = null));
  return asking;
}

function ask(wasRefused) {
  const input = el("input", { type: "password", autocomplete: "off", spellcheck: "false" });
  const why = wasRefused
    ? "The server does not accept this key. It may be revoked or expired."
    : "This server needs an API key.";
  return new Promise((resolve) => {
    const dialog = openDialog("API key", (close) => {
      const take = () => {
        if (!input.value.trim()) throw new Error("Type or paste a key.");
        storeKey(input.value.trim());
        close();
        resolve(true);
      };
      const hint = "Kept in this tab until you close it. `secondpass keys create` makes one.";
      return form([el("p", {}, why), field("Key", input, hint)], "Use this key", take);
    });
    dialog.addEventListener("close", () => resolve(false));
    input.focus();
  });
}
