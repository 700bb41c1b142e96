// Builds elements. Children are nodes or texts, never markup, so no data can become an element or a script.
const SVG = "http://www.w3.org/2000/svg";
// Addresses of ours, and addresses of the web that a caller has checked. Nothing else becomes a link.
const LINK = /^(?:[/#?](?![/\\\t\n\r])|https?:\/\/)/i;

function build(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) {
      element.addEventListener(name.slice(2), value);
    } else if (name === "href" && !LINK.test(value)) {
      throw new Error("href: expected an address of this page or of the web");
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  append(element, children);
  return element;
}

export function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false || child === "") continue;
    element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

export function h(tag, attributes, ...children) {
  return build(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes, ...children) {
  return build(document.createElementNS(SVG, tag), attributes, children);
}

export function replace(element, ...children) {
  element.replaceChildren();
  return append(element, children);
}

// A button with a word; `why` says why it cannot be used, and keeps it visible.
export function button(label, onclick, { kind = "", key = "", why = "", ...attributes } = {}) {
  const off = Boolean(why);
  return h(
    "button",
    {
      type: "button",
      class: `btn ${kind}`.trim(),
      onclick: (event) => (off ? event.preventDefault() : onclick(event)),
      "aria-disabled": off ? "true" : null,
      title: why || null,
      ...attributes,
    },
    label,
    key && h("kbd", { class: "wide", "aria-hidden": "true" }, key),
  );
}
