// Questions over the page, and short words at its edge.
import { button, h } from "../dom/elements.js";

const TOAST_MS = 8000;
let toast = null;

// A modal dialog over the page. `close` removes it; `onEscape` is called for Escape.
export function openDialog(title, content, onEscape) {
  const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, h("h2", { id: "dialog-title" }, title), content);
  const close = () => {
    dialog.close();
    dialog.remove();
  };
  dialog.addEventListener("cancel", (event) => {
    event.preventDefault();
    onEscape?.();
  });
  document.body.append(dialog);
  dialog.showModal();
  return { dialog, close };
}

// A modal question. Resolves to the chosen value, or to `safe` for Escape; the safe answer has the focus.
export function ask(title, content, answers, safe) {
  return new Promise((resolve) => {
    const done = (value) => {
      opened.close();
      resolve(value);
    };
    const buttons = answers.map(({ label, value, kind }) => button(label, () => done(value), { kind, autofocus: value === safe }));
    const opened = openDialog(title, [h("div", { class: "say" }, content), h("div", { class: "row end" }, buttons)], () => done(safe));
  });
}

// One at a time, for 8 s, longer while somebody points at it or has it focused.
export function say(words, { undo } = {}) {
  toast?.remove();
  const box = h("div", { class: "toast", role: "status" }, h("span", null, words));
  const gone = () => box.remove();
  if (undo) {
    box.append(
      button("Undo", () => {
        gone();
        undo();
      }, { kind: "low" }),
    );
  }
  box.append(button("Close", gone, { kind: "low quiet" }));
  let timer = setTimeout(gone, TOAST_MS);
  const hold = () => clearTimeout(timer);
  const go = () => (timer = setTimeout(gone, TOAST_MS));
  box.addEventListener("mouseenter", hold);
  box.addEventListener("mouseleave", go);
  box.addEventListener("focusin", hold);
  box.addEventListener("focusout", go);
  document.body.append(box);
  toast = box;
}

// Copies, and says so on the button for 2 s.
export function copyButton(label, given, attributes = {}) {
  const made = button(label, async () => {
    const words = made.firstChild;
    try {
      await navigator.clipboard.writeText(typeof given === "function" ? await given() : given);
      words.textContent = "Copied";
    } catch {
      words.textContent = "Select and copy it";
    }
    setTimeout(() => (words.textContent = label), 2000);
  }, { kind: "low", ...attributes });
  return made;
}
