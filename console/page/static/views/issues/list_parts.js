// Parts of the list of issues that hold no state: heads of the table, hints, the question of an address.
import { h } from "../../dom/elements.js";
import { change } from "../../shell/router.js";

const kbd = (key) => h("kbd", null, key);
export const HINTS = ["Move ", kbd("j"), " ", kbd("k"), " open ", kbd("Enter"), " select ", kbd("x"), " resolve ", kbd("e"), " archive ", kbd("a")];

export function plainHead(words, kind) {
  return h("th", { role: "columnheader", scope: "col", class: kind }, words);
}

export function sortHead([words, name], sort) {
  const isSorted = sort === name;
  return h("th", { role: "columnheader", scope: "col", class: "num", "aria-sort": isSorted ? "descending" : null }, h("button", { type: "button", onclick: () => change({ sort: name === "date" ? "" : name }) }, words, isSorted && " ↓"));
}

// A `*` alone stands for all issues, as an empty query in the address stands for the default.
export function wordsOf(query) {
  return query === "*" ? "" : query;
}

export function questionOf(parameters, words) {
  const search = new URLSearchParams({ query: words });
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of Array.isArray(value) ? value : [value]) if (one !== "") search.append(name, one);
  }
  return `?${search}`;
}

export function between(entries, one, other) {
  const [begin, end] = [entries.findIndex((issue) => issue.id === one.id), entries.findIndex((issue) => issue.id === other.id)].sort((a, b) => a - b);
  return begin < 0 ? [other] : entries.slice(begin, end + 1);
}
