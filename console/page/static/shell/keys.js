// Keys of the whole page and of the view that is open. Off in fields, and by a setting.
import { h } from "../dom/elements.js";
import { ask } from "./dialogs.js";

const SECOND_KEY_MS = 1500;
const OFF = "axonpush.keys";
let ofView = {};
let ofPage = {};
let afterG = 0;

export const keysAreOff = () => localStorage.getItem(OFF) === "off";

export function setKeys(on) {
  if (on) localStorage.removeItem(OFF);
  else localStorage.setItem(OFF, "off");
}

// `keys` is an object of key to [what it does, function].
export function useKeys(keys) {
  ofView = keys ?? {};
}

export function startKeys(keys) {
  ofPage = keys;
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const target = event.target;
    if (target.closest?.("input:not([type=checkbox]), textarea, select, [contenteditable]")) return;
    if (keysAreOff() && event.key.length === 1) return;
    const name = Date.now() - afterG < SECOND_KEY_MS ? `g ${event.key}` : event.key;
    afterG = event.key === "g" && name === "g" ? Date.now() : 0;
    const found = ofView[name] ?? ofPage[name];
    if (!found || (event.key === "Enter" && target.closest?.("a, button, summary, tr[tabindex]"))) return;
    if (found[1](event) !== false) event.preventDefault();
  });
}

export function showKeys() {
  const lines = Object.entries({ ...ofPage, ...ofView }).map(([key, [words]]) => [h("dt", null, h("kbd", null, key)), h("dd", null, words)]);
  return ask("Keys", h("dl", { class: "kv keys" }, lines), [{ label: "Close", value: "", kind: "main" }], "");
}
