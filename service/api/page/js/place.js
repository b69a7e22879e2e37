/** Where the person is: `#/VIEW?PARAMETERS`, of which `in` is the collection. */

const COLLECTION = "in";

/** The name of the view, its parameters, and the collection ("" for the default one). */
export function place() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const params = new URLSearchParams(query);
  const collection = params.get(COLLECTION) ?? "";
  params.delete(COLLECTION);
  return { name: path, params, collection };
}

/** The address of a view. Parameters without a value are left out. */
export function address(name, params = {}, collection = place().collection) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(params)) if (value) query.set(key, value);
  if (collection) query.set(COLLECTION, collection);
  return `#/${name}${query.size ? `?${query}` : ""}`;
}

/** Go to a view, as a link would. */
export function go(name, params, collection) {
  location.hash = address(name, params, collection);
}
