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

// Shows what `read` gives in `box`. Old content stays, dimmed, while new is read; the first time grey rows stand there.
export async function fill(box, read, draw, { ghosts = () => loadingRows(8) } = {}) {
  const isFirst = !box.hasChildNodes();
  const patience = setTimeout(() => (isFirst ? replace(box, ghosts()) : box.classList.add("stale")), PATIENCE_MS);
  box.setAttribute("aria-busy", "true");
  try {
    const found = await read();
    clearTimeout(patience);
    replace(box, draw(found));
  } catch (error) {
    clearTimeout(patience);
    if (error.name === "AbortError") return;
    replace(box, failure(error, () => fill(box, read, draw, { ghosts })));
  } finally {
    box.classList.remove("stale");
    box.removeAttribute("aria-busy");
  }
}
