// What stands where data would be: while it loads, when there is none, when it could not be read.
import { button, h, replace } from "../dom/elements.js";
import { text } from "../dom/text.js";

const PATIENCE_MS = 150;

export function loadingRows(count, height = 50) {
  const rows = Array.from({ length: count }, () => h("div", { class: `ghost g-${height}` }, h("i"), h("i")));
  return h("div", { class: "ghosts", role: "status", "aria-label": "Loading" }, rows);
}

export function empty(sentence, ...steps) {
  return h("div", { class: "nothing" }, h("p", null, sentence), steps.length > 0 && h("div", { class: "row wrap" }, steps));
}

export function failure(error, again) {
  const status = error.status ? `Status ${error.status}.` : "";
  return h(
    "div",
    { class: "nothing failure", role: "alert" },
    h("p", null, text(error.message)),
    h("div", { class: "row wrap" }, again && button("Try again", again), status && h("span", { class: "small dim" }, status)),
  );
}

const turns = new WeakMap();

// Shows what `read` gives in `box`. Old content stays, dimmed, while new is read; the first time grey rows stand there.
// An answer that a later one has overtaken is left out.
export async function fill(box, read, draw, { ghosts = () => loadingRows(8) } = {}) {
  const turn = {};
  turns.set(box, turn);
  const isFirst = !box.hasChildNodes();
  const patience = setTimeout(() => (isFirst ? replace(box, ghosts()) : box.classList.add("stale")), PATIENCE_MS);
  box.setAttribute("aria-busy", "true");
  const settle = (content) => {
    clearTimeout(patience);
    if (turns.get(box) !== turn) return;
    if (content) replace(box, content);
    box.classList.remove("stale");
    box.removeAttribute("aria-busy");
  };
  try {
    const found = await read();
    settle(turns.get(box) === turn && draw(found));
  } catch (error) {
    settle(error.name !== "AbortError" && failure(error, () => fill(box, read, draw, { ghosts })));
  }
}
