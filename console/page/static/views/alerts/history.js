// What rules have said, and to whom: firings and deliveries, of all rules or of one.
import { button, h, replace } from "../../dom/elements.js";
import { whole } from "../../dom/format.js";
import { cell, row, table } from "../../dom/table.js";
import { text } from "../../dom/text.js";
import { ago, relative } from "../../dom/times.js";
import { page, send } from "../../shell/api.js";
import { say } from "../../shell/dialogs.js";
import { change } from "../../shell/router.js";
import { api, whyNot } from "../../shell/session.js";
import { empty, fill } from "../../shell/states.js";
import { badge, rulePath } from "./parts.js";

const PER_PAGE = 25;
const OURS = /^https?:\/\/[^/]+(\/organizations\/.*)$/;

// A link of the API to this page, as a path of it; other addresses become no link.
function linkTo(url, words) {
  const found = OURS.exec(url ?? "");
  return found ? h("a", { href: found[1] }, words) : words;
}

function firingRow(firing) {
  return row(
    cell({ class: "first" }, linkTo(firing.url, text(firing.title, 200)), h("br"), h("span", { class: "small dim" }, text(firing.message.split("\n").join(" · "), 300))),
    cell({ class: "wide" }, h("a", { href: rulePath(firing.rule.id) }, text(firing.rule.name, 80)), h("br"), h("span", { class: "small dim" }, text(firing.project, 60))),
    cell({ class: "num" }, badge(firing.status === "firing" && firing.severity === "warning" ? "warning" : firing.status)),
    cell({ class: "num dim2" }, ago(firing.at)),
  );
}

async function again(delivery, done) {
  try {
    await send("POST", api(`/alerts/deliveries/${encodeURIComponent(delivery.id)}/again/`), {}, {});
    say("It is sent again.");
    done();
  } catch (error) {
    say(error.message);
  }
}

function deliveryRow(delivery, done) {
  const next = delivery.nextTry && delivery.status === "pending" ? `, next try ${relative(delivery.nextTry)}` : "";
  return row(
    cell({ class: "first" }, h("span", { class: "dim" }, `${delivery.type} `), text(delivery.target, 120), delivery.test && [" ", h("span", { class: "badge" }, "test")], h("br"), h("span", { class: "small dim" }, text(delivery.title, 160))),
    cell({ class: "wide" }, text(delivery.answer, 200), h("br"), h("span", { class: "small dim" }, `${whole(delivery.attempts)} ${delivery.attempts === 1 ? "try" : "tries"}${next}`)),
    cell({ class: "num" }, badge(delivery.status)),
    cell({ class: "num dim2" }, ago(delivery.lastTry ?? delivery.at)),
    cell({ class: "num" }, delivery.status === "failed" && button("Send again", () => again(delivery, done), { kind: "low", why: whyNot("alerts:write") })),
  );
}

const LISTS = {
  firings: { heads: [["What", ""], ["Rule", "wide"], ["state", "num"], ["at", "num"]], label: "Firings, the newest first", row: firingRow, none: "No rule has fired yet." },
  deliveries: { heads: [["To", ""], ["Answer", "wide"], ["state", "num"], ["last try", "num"], ["What now", "num", true]], label: "Deliveries, the newest first", row: deliveryRow, none: "Nothing was sent yet." },
};

// Fills `box` with firings or deliveries; `foot` gets the links to other pages.
export function history(name, box, foot, { rule, project, cursor, isPoll }) {
  const { heads, label, row: rowOf, none } = LISTS[name];
  const read = () => page(api(`/alerts/${name}/`), { rule, project, cursor, limit: PER_PAGE }, { isPoll });
  const load = () => history(name, box, foot, { rule, project, cursor });
  return fill(box, read, ({ entries, cursor: beside }) => {
    const newer = cursor && button("Newer", () => change({ cursor: beside.previous }), { kind: "low" });
    const older = beside.next && button("Older", () => change({ cursor: beside.next }), { kind: "low" });
    if (foot) replace(foot, h("span", { class: "end row" }, newer, older));
    return entries.length ? table(label, heads, entries.map((entry) => rowOf(entry, load))) : empty(none);
  });
}
