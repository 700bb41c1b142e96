// As much of a browser as the modules of the page need to build elements; nothing is drawn.
class Node {
  constructor(tag = "") {
    this.tag = tag;
    this.attributes = {};
    this.children = [];
    this.listeners = {};
    this.classList = { add() {}, remove() {}, toggle() {} };
  }
  setAttribute(name, value) {
    this.attributes[name] = `${value}`;
  }
  getAttribute(name) {
    return this.attributes[name] ?? null;
  }
  append(...children) {
    for (const child of children) if (child instanceof Node) child.parent = this;
    this.children.push(...children);
  }
  remove() {
    this.parent.children = this.parent.children.filter((one) => one !== this);
  }
  hasChildNodes() {
    return this.children.length > 0;
  }
  replaceChildren(...children) {
    this.children = children;
  }
  addEventListener(name, listener) {
    (this.listeners[name] ??= []).push(listener);
  }
  removeEventListener(name, listener) {
    this.listeners[name] = (this.listeners[name] ?? []).filter((one) => one !== listener);
  }
  dispatch(name, event = {}) {
    for (const listener of [...(this.listeners[name] ?? [])]) listener(event);
  }
  get childElementCount() {
    return this.children.filter((child) => child instanceof Node).length;
  }
  get firstChild() {
    return this.children[0];
  }
  get lastChild() {
    return this.children.at(-1);
  }
  get textContent() {
    return this.children.map((child) => (child instanceof Node ? child.textContent : child)).join("");
  }
}

export const document = Object.assign(new Node("document"), {
  hidden: false,
  createElement: (tag) => new Node(tag),
  createElementNS: (_, tag) => new Node(tag),
});

// Streams of server-sent events; a test says what arrives.
export class EventSource extends Node {
  static CLOSED = 2;
  static opened = [];
  constructor(url) {
    super("stream");
    this.url = url;
    this.readyState = 1;
    EventSource.opened.push(this);
  }
  close() {
    this.readyState = EventSource.CLOSED;
  }
}

export const timers = [];
Object.assign(globalThis, {
  Node,
  document,
  EventSource,
  localStorage: { getItem: () => null },
  location: { origin: "http://console.test", pathname: "/" },
  setTimeout: (run) => timers.push(run),
  clearTimeout: (number) => delete timers[number - 1],
});
