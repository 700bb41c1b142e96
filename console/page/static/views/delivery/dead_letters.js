// Dead letters: by reason, those of one reason, one of them; retried or dropped by who may.
import { button, h, replace } from "../../dom/elements.js";
import { bytes, plural, whole } from "../../dom/format.js";
import { mark } from "../../dom/marks.js";
import { cell, row, table } from "../../dom/table.js";
import { text } from "../../dom/text.js";
import { ago } from "../../dom/times.js";
import { page } from "../../shell/api.js";
import { change } from "../../shell/router.js";
import { api, whyNot } from "../../shell/session.js";
import { empty, fill } from "../../shell/states.js";
import { card } from "../event/sections.js";
import { drop, retry } from "./decide.js";
import { fixOf, letterCard } from "./letter.js";

const PER_PAGE = 50;

// Buttons for some dead letters. `say` shows what happens, `done` reads everything again.
function actsOf(say, done) {
  const why = whyNot("delivery:write");
  const run = async (work) => {
    try {
      if ((await work()) !== false) done();
    } catch (error) {
      say(error.message);
    }
  };
  return (chosen, number) => [
    button("Retry", () => run(() => retry(chosen, say)), { kind: "low", why }),
    " ",
    button("Drop…", () => run(() => drop(chosen, number, say)), { kind: "low", why }),
  ];
}

const chosenOf = (group, { since, asOf }) => ({ reason: group.reason, stage: group.stage, itemType: group.itemType, since, before: asOf });
const nameOf = (group) => `${group.reason}/${group.stage}/${group.itemType}`;

function groupRow(group, times, acts) {
  const letter = group.number === 1 ? group.sequence : nameOf(group);
  return row(
    cell({ class: "what" }, h("b", null, whole(group.number)), " × ", h("span", { class: "mono" }, text(group.reason, 80)), h("br"), h("span", { class: "small dim" }, text(`${group.project}, ${group.stage}, `, 120), ago(group.last))),
    cell({ class: "full why" }, text(group.error, 400), group.bytes && h("span", { class: "peek clip" }, text(group.bytes, 400)), fixOf(group.reason) && h("span", { class: "small dim fix" }, fixOf(group.reason))),
    cell({ class: "num full" }, button("Open", () => change({ letter }, { instead: true }), { kind: "low" }), " ", acts(chosenOf(group, times), group.number)),
  );
}

function letterRow(letter, acts) {
  return row(
    cell({ class: "first" }, h("b", null, letter.number), " ", h("span", { class: "small dim" }, text(letter.project, 60))),
    cell({ class: "wide" }, text(letter.itemType, 60)),
    cell({ class: "num" }, bytes(letter.sizeBytes)),
    cell({ class: "num wide" }, ago(letter.received)),
    cell({ class: "num full" }, button("Open", () => change({ letter: letter.number }, { instead: true }), { kind: "low" }), " ", acts({ numbers: [letter.number] }, 1)),
  );
}

// The dead letters of one reason, worker and item type.
function lettersCard(name, statsPeriod, acts) {
  const [reason, stage, itemType] = name.split("/");
  const box = h("div");
  const read = () => page(api("/delivery/dead-letters/"), { reason, stage, itemType, statsPeriod, limit: PER_PAGE });
  const draw = ({ entries, cursor }) => {
    if (!entries.length) return empty("None of these waits any more.");
    const heads = [["Number and project", ""], ["item type", "wide"], ["size", "num"], ["received", "num wide"], ["What now", "num", true]];
    return [table("Dead letters of this reason", heads, entries.map((letter) => letterRow(letter, acts))), cursor.next && h("p", { class: "note-line" }, `The newest ${PER_PAGE} are shown.`)];
  };
  fill(box, read, draw);
  const close = button("Close", () => change({ letter: "" }, { instead: true }), { kind: "low quiet" });
  return card(h("span", { class: "mono" }, text(reason, 80)), "dead-of-reason", box, { note: `${stage}, ${itemType}`, side: close });
}

function opened(letter, statsPeriod, acts) {
  if (!letter) return null;
  return /^\d{1,19}$/.test(letter) ? letterCard(letter, acts) : lettersCard(letter, statsPeriod, acts);
}

function groupsCard(problems, waiting, said, acts) {
  const title = h("span", { class: "row" }, waiting > 0 && mark("warning", "needs you"), waiting ? `${plural(waiting, "dead letter")} need${waiting === 1 ? "s" : ""} a decision` : "Dead letters");
  const all = waiting > 0 && problems.asOf && h("span", { class: "end row" }, h("span", { class: "small dim wide" }, `all ${whole(waiting)}:`), acts({ before: problems.asOf }, waiting));
  const heads = [["Reason", ""], ["Why, and the first bytes", ""], ["What now", "num"]];
  const rows = problems.deadLetters.map((group) => groupRow(group, problems, acts));
  const words = waiting ? "They are older than the time that is shown, or not readable yet." : "None waits.";
  return h(
    "section",
    { class: "card", "aria-labelledby": "dead" },
    h("div", { class: "head" }, h("h2", { id: "dead" }, title), h("p", { class: "wide" }, "Kept whole, with their bytes, until someone retries or drops them."), all),
    said,
    rows.length ? table("Dead letters by reason", heads, rows) : h("p", { class: "sheet small dim2" }, words),
  );
}

// What is said about the last decision stays when the list is drawn again.
export function deadLetters(done) {
  const box = h("div", { class: "stack" });
  const said = h("p", { class: "note-line said", role: "status" });
  const acts = actsOf((words) => (said.textContent = words), done);
  box.draw = (problems, waiting, { letter, statsPeriod }) => {
    if (!problems.deadLetters.length && !waiting && !said.textContent && !letter) return replace(box);
    return replace(box, groupsCard(problems, waiting, said, acts), opened(letter, statsPeriod, acts));
  };
  return box;
}
