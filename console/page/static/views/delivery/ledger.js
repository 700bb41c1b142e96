// The equation: accepted = rows + merged + …, of all and by project. Every number is the server's, of one moment.
import { h } from "../../dom/elements.js";
import { whole } from "../../dom/format.js";
import { mark } from "../../dom/marks.js";
import { cell, row, table } from "../../dom/table.js";
import { text } from "../../dom/text.js";
import { empty } from "../../shell/states.js";

const TERMS = [["received", "accepted", ""], ["rows", "rows", "= "], ["merged", "merged", "+ "], ["expired", "expired", "+ "], ["rejected", "rejected", "+ "], ["dropped", "dropped", "+ "], ["dead", "dead", "+ "], ["queued", "queued", "+ "]];
const MEANING = {
  merged: "sent again or replayed; the row was there",
  expired: "older than the time that rows are kept",
  rejected: "answered as not valid, with the reason",
  dropped: "dropped by a filter or a limit, with the reason",
  dead: "kept whole until somebody retries or drops them",
  queued: "on disk, not read yet",
};
const NUMBERS = ["rows", "merged", "rejected", "dropped", "dead", "queued"];
const COUNTING = "Counting. The first numbers are here in some seconds; they come from the janitor, so it must run.";

function ledger(total) {
  const shown = TERMS.filter(([name]) => name !== "expired" || total.expired > 0);
  return h(
    "dl",
    { class: "ledger" },
    shown.map(([name, words, sign]) => h("div", { title: MEANING[name] ?? null }, h("dt", null, sign + words), h("dd", null, whole(total[name])))),
    h("div", { class: total.missing > 0 ? "sum bad" : "sum" }, h("dt", null, "difference"), h("dd", null, whole(total.difference))),
  );
}

function projectRow(one) {
  return row(
    cell({ class: "first" }, text(one.slug, 80), h("span", { class: "dim" }, ` ${one.id}`)),
    cell({ class: "num", "data-l": "accepted" }, h("b", null, whole(one.received))),
    NUMBERS.map((name) => cell({ class: "num wide" }, whole(one[name]))),
    cell({ class: "num", "data-l": "difference" }, h("span", { class: "nowrap" }, mark(one.missing > 0 ? "error" : "ok", ""), ` ${whole(one.difference)}`)),
  );
}

export function equation({ total, projects, trouble }) {
  if (!total) return h("div", { class: "card" }, empty(trouble ? `Nothing can be counted now: ${trouble}` : COUNTING));
  const heads = [["Project", ""], ["accepted", "num"], ...NUMBERS.map((name) => [name, "num"]), ["difference", "num"]];
  return h("section", { class: "card", "aria-label": "Reconciliation" }, ledger(total), projects.length > 0 && table("By project", heads, projects.map(projectRow)));
}
