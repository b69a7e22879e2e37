/** Elements made without markup: text is always text, whatever it contains. */

/**
 * Make an element: `el("a", { href: "#/", onclick: run }, "text", otherElement)`.
 *
 * A property that starts with `on` is a listener; the others are attributes. An attribute that is
 * `true` is empty; one that is false, null or undefined is left out, and so is such a child.
 */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  setProperties(node, properties);
  node.append(...kept(children));
  return node;
}

/** The same for SVG. */
export function svg(tag, properties = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  setProperties(node, properties);
  node.append(...kept(children));
  return node;
}

/** Replace everything within a node. */
export function fill(node, ...children) {
  node.replaceChildren(...kept(children));
  return node;
}

function setProperties(node, properties) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
}

function kept(children) {
  const given = children.flat(Infinity);
  return given.filter((child) => child !== undefined && child !== null && child !== false);
}
