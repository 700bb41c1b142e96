// Tables that are read across, on a phone as cards. Roles are said, because CSS that makes cards takes them away.
import { h } from "./elements.js";

export function cell(attributes, ...children) {
  return h("td", { role: "cell", ...attributes }, children);
}

export function row(...cells) {
  return h("tr", { role: "row" }, cells);
}

// `heads` are [words, class]; one with a third part is said and not shown.
export function table(label, heads, rows) {
  const head = heads.map(([words, kind, isHidden]) => h("th", { role: "columnheader", scope: "col", class: kind }, isHidden ? h("span", { class: "hide" }, words) : words));
  return h("table", { class: "list cardlist", role: "table", "aria-label": label }, h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head)), h("tbody", { role: "rowgroup" }, rows));
}
