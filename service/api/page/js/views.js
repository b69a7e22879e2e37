/**
 * The views, in the order of the menu.
 *
 * To add one, write `views/NAME.js` and a line here. The module exports
 *
 *     export async function show({ main, params, collection, signal }) { ... }
 *
 * which fills `main` (start with `pageTitle(...)` of ui.js). `params` are the parameters of the
 * address `#/NAME?...` (URLSearchParams), `collection` the chosen one ("" for the default one).
 * Pass `signal` to every call of api.js: it aborts them when the person leaves. An error that is
 * thrown is shown. A view that can show other parameters without being built again returns a
 * function of `params`. Texts of documents go in as children of `el(...)`, never as markup.
 */
export const views = [
  { name: "search", title: "Search", load: () => import("./views/search.js") },
  { name: "documents", title: "Documents", load: () => import("./views/documents.js") },
  { name: "collections", title: "Collections", load: () => import("./views/collections.js") },
  { name: "evaluate", title: "Evaluate", load: () => import("./views/evaluate.js") },
  { name: "jobs", title: "Jobs", load: () => import("./views/jobs.js") },
  { name: "key", title: "Key", load: () => import("./views/key.js") },
];
