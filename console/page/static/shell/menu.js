// A button that opens a list of links or buttons below it.
import { h } from "../dom/elements.js";

export function menu(label, entries, { kind = "low", name = "" } = {}) {
  const box = h("details", { class: "menu" });
  const list = h("div", { class: "choices" }, entries(() => close()));
  const summary = h("summary", { class: `btn ${kind}`, "aria-label": name || null }, label, h("span", { class: "dim", "aria-hidden": "true" }, "▾"));
  const close = () => {
    const hadFocus = box.contains(document.activeElement);
    box.open = false;
    if (hadFocus) summary.focus();
  };
  box.append(summary, list);
  box.addEventListener("toggle", () => {
    if (!box.open) return;
    list.querySelector("a, button, input")?.focus();
    const away = (event) => {
      if (box.contains(event.target)) return;
      box.open = false;
      document.removeEventListener("pointerdown", away);
    };
    document.addEventListener("pointerdown", away);
  });
  box.addEventListener("keydown", (event) => {
    const all = [...list.querySelectorAll("a, button")];
    const at = all.indexOf(document.activeElement);
    if (event.key === "Escape" && box.open) {
      event.stopPropagation();
      close();
    } else if (event.key === "ArrowDown" && all.length) {
      event.preventDefault();
      all[(at + 1) % all.length].focus();
    } else if (event.key === "ArrowUp" && all.length) {
      event.preventDefault();
      all[(at - 1 + all.length) % all.length].focus();
    }
  });
  return box;
}

// A menu whose choices change one parameter of the address.
export function choiceMenu(name, choices, chosen, choose) {
  const label = choices.find(([value]) => value === chosen)?.[1] ?? chosen;
  return menu(
    label,
    (close) =>
      choices.map(([value, words]) =>
        h("button", { type: "button", "aria-pressed": String(value === chosen), onclick: () => (close(), choose(value)) }, words),
      ),
    { kind: "", name: `${name}: ${label}` },
  );
}
