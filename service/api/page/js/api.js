/** Calls of the server's API: the key, errors, and waiting while the server loads its models. */

const KEY = "secondpass-key";
const FIRST_RETRY_S = 1;

/** An answer that is an error. `message` can be shown as it is. */
export class ApiError extends Error {
  constructor(status, { code = "", message, details = [], request_id: requestId = "" }) {
    super(message);
    Object.assign(this, { status, code, details, requestId });
  }
}

/** What the rest of the page does when the server asks for a key, and while it loads. */
export const hooks = {
  /** Ask for a key; true once there is one, false if the person gives up. */
  askForKey: async () => false,
  /** Told `true` while the server loads, then `false`. */
  loading: () => {},
};

/** The key that was typed in. It is kept until the tab is closed. */
export function storedKey() {
  return sessionStorage.getItem(KEY) ?? "";
}

/** Keep another key; an empty one forgets it. */
export function storeKey(key) {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
}

/** The path of something in a collection; without a name, in the default one. */
export function inCollection(name, path) {
  return name ? `collections/${encodeURIComponent(name)}/${path}` : path;
}

export const get = (path, options) => call("GET", path, options);
export const post = (path, body, options) => call("POST", path, { body, ...options });
export const put = (path, body, options) => call("PUT", path, { body, ...options });
export const patch = (path, body, options) => call("PATCH", path, { body, ...options });
export const remove = (path, options) => call("DELETE", path, options);

/**
 * The JSON of an answer, null without one. Raises `ApiError`.
 *
 * `path` is below the page's address and has no slash in front. `query` has parameters, `body`
 * anything for JSON, or a Blob that is sent as it is, with the type `type`. A `quiet` call asks the
 * person for no key.
 */
export async function call(method, path, options = {}) {
  const { query, body, type, headers, signal, quiet } = options;
  const address = new URL(path, document.baseURI);
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== null) address.searchParams.set(name, value);
  }
  const request = { method, signal, headers: { Accept: "application/json", ...headers } };
  if (body !== undefined) {
    request.headers["Content-Type"] = type ?? "application/json";
    request.body = body instanceof Blob ? body : JSON.stringify(body);
  }
  const answer = await ask(address, request, quiet);
  const content = await readJson(answer);
  if (answer.ok) return content;
  throw new ApiError(answer.status, content?.error ?? { message: answer.statusText });
}

async function ask(address, request, quiet) {
  for (;;) {
    const answer = await send(address, request);
    const isClosed = answer.status === 401 && !quiet;
    if (isClosed && (await hooks.askForKey(Boolean(storedKey())))) continue;
    if (answer.status === 503 && (await isLoading(answer.clone()))) {
      hooks.loading(true);
      await pause(Number(answer.headers.get("Retry-After")) || FIRST_RETRY_S, request.signal);
      continue;
    }
    hooks.loading(false);
    return answer;
  }
}

async function send(address, request) {
  const key = storedKey();
  const headers = key ? { ...request.headers, "X-API-Key": key } : request.headers;
  try {
    return await fetch(address, { ...request, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { message: "The server does not answer. Is it running?" });
  }
}

async function isLoading(answer) {
  return (await readJson(answer))?.error?.code === "not_ready";
}

async function readJson(answer) {
  try {
    return await answer.json();
  } catch {
    return null; // an empty answer, or a proxy's own page
  }
}

/** Wait; raises `AbortError` if the view is left meanwhile. */
export function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("left", "AbortError"));
    });
  });
}
