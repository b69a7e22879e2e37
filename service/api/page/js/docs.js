/** Starts Swagger UI, with the key that was typed into the page, if any. */
import { storedKey } from "./api.js";

const ui = globalThis.SwaggerUIBundle({
  url: new URL("openapi.json", document.baseURI).href,
  dom_id: "#docs",
  deepLinking: false,
  validatorUrl: null,
  onComplete() {
    if (storedKey()) ui.preauthorizeApiKey("header", storedKey());
  },
});
