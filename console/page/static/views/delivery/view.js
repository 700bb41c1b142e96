// Delivery: is anything lost, late, refused, or waiting for me? The numbers were read at one moment by the server.
import { h, replace } from "../../dom/elements.js";
import { duration, plural, whole } from "../../dom/format.js";
import { mark } from "../../dom/marks.js";
import { text } from "../../dom/text.js";
import { ago, exact } from "../../dom/times.js";
import { get } from "../../shell/api.js";
import { isLost, verdict } from "../../shell/delivery_chip.js";
import { copyButton } from "../../shell/dialogs.js";
import { choiceMenu } from "../../shell/menu.js";
import { change } from "../../shell/router.js";
import { api } from "../../shell/session.js";
import { empty, failure, loadingRows } from "../../shell/states.js";
import { card } from "../event/sections.js";
import { refusalsCard } from "./refusals.js";

const EVERY_MS = 5000;
const LATE_S = 30;
const PERIODS = [["7d", "7 days"], ["24h", "24 hours"], ["1h", "1 hour"], ["30d", "30 days"]];
const TERMS = [["received", "accepted", ""], ["rows", "rows", "= "], ["merged", "merged", "+ "], ["expired", "expired", "+ "], ["rejected", "rejected", "+ "], ["dropped", "dropped", "+ "], ["dead", "dead", "+ "], ["queued", "queued", "+ "]];
const MEANING = {
  merged: "sent again or replayed; the row was there",
  expired: "older than the time that rows are kept",
  rejected: "answered as not valid, with the reason",
  dropped: "dropped by a filter or a limit, with the reason",
  dead: "kept whole until somebody retries or drops them",
  queued: "on disk, not read yet",
};

const cell = (attributes, ...children) => h("td", { role: "cell", ...attributes }, children);

export function table(label, heads, rows) {
  return h("table", { class: "list cardlist", role: "table", "aria-label": label }, h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads.map(([words, kind]) => h("th", { role: "columnheader", scope: "col", class: kind }, words)))), h("tbody", { role: "rowgroup" }, rows));
}

// The same as the sign in the top bar, as a sentence.
function headline(report) {
  const [level, words] = verdict(report);
  return [level, level === "ok" ? "Everything accepted is accounted for" : words];
}

function ledger(total) {
  const shown = TERMS.filter(([name]) => name !== "expired" || total.expired > 0);
  const isBad = total.missing > 0;
  return h(
    "dl",
    { class: "ledger" },
    shown.map(([name, words, sign]) => h("div", { title: MEANING[name] ?? null }, h("dt", null, sign + words), h("dd", null, whole(total[name])))),
    h("div", { class: isBad ? "sum bad" : "sum" }, h("dt", null, "difference"), h("dd", null, whole(total.difference))),
  );
}

function projectRow(one) {
  const number = (name, kind = "num wide") => cell({ class: kind, "data-l": name === "received" ? "accepted" : null }, name === "received" ? h("b", null, whole(one[name])) : whole(one[name]));
  const sign = one.missing > 0 ? "error" : "ok";
  return h("tr", { role: "row" }, cell({ class: "first" }, text(one.slug, 80), h("span", { class: "dim" }, ` ${one.id}`)), number("received", "num"), number("rows"), number("merged"), number("rejected"), number("dropped"), number("dead"), number("queued"), cell({ class: "num", "data-l": "difference" }, h("span", { class: "nowrap" }, mark(sign, ""), ` ${whole(one.difference)}`)));
}

// Level and words of a worker.
function stateOf(one) {
  if (one.missing) return ["error", "missing: run axonpush migrate"];
  if (one.unknown) return ["warning", "did not answer"];
  if ((one.oldest_s ?? 0) > LATE_S) return ["warning", "late"];
  return one.listeners || !one.pending ? ["ok", ""] : ["warning", "no process reads it"];
}

function workerRow(one) {
  const [level, words] = stateOf(one);
  return h("tr", { role: "row" }, cell({ class: "first" }, mark(level, words), " ", text(one.worker, 60), words && h("span", { class: "small dim" }, ` ${words}`)), cell({ class: "num", "data-l": "waiting" }, whole(one.pending)), cell({ class: "num", "data-l": "oldest" }, one.oldest_s === null ? h("span", { class: "dim" }, "none") : duration(one.oldest_s * 1000)), cell({ class: "num wide" }, String(one.rate)));
}

// Those that do something or need a look; the others in one line.
function workersCard(workers) {
  const heads = [["Worker", ""], ["waiting", "num"], ["oldest", "num"], ["a second", "num wide"]];
  const isBusy = (one) => one.pending || one.rate || stateOf(one)[0] !== "ok";
  const [busy, idle] = [workers.filter(isBusy), workers.filter((one) => !isBusy(one))];
  const rest = idle.length > 0 && h("details", { class: "frame" }, h("summary", null, mark("ok", ""), ` ${plural(idle.length, "worker")} with nothing to do`), table("Idle workers", heads, idle.map(workerRow)));
  return card("Workers", "workers", [busy.length > 0 && table("Workers", heads, busy.map(workerRow)), rest]);
}

function deadCard(dead, waiting) {
  if (!dead.length && !waiting) return null;
  const rows = dead.map((one) =>
    h(
      "tr",
      { role: "row" },
      cell(null, h("b", null, whole(one.number)), " × ", h("span", { class: "mono" }, text(one.reason, 80)), h("br"), h("span", { class: "small dim" }, text(`${one.project}, ${one.stage}, `, 120), ago(one.last))),
      cell({ class: "full" }, text(one.error, 400), h("span", { class: "peek clip" }, text(one.bytes, 400))),
      cell({ class: "num full" }, copyButton("Copy show command", `axonpush dead show ${one.sequence}`), " ", copyButton("Copy retry command", /^\w+$/.test(one.reason) ? `axonpush dead retry --reason ${one.reason}` : `axonpush dead retry ${one.sequence}`)),
    ),
  );
  const title = h("span", { class: "row" }, waiting > 0 && mark("warning", "needs you"), waiting ? `${plural(waiting, "dead letter")} need${waiting === 1 ? "s" : ""} a decision` : "Dead letters");
  return h("section", { class: "card", "aria-labelledby": "dead" }, h("div", { class: "head" }, h("h2", { id: "dead" }, title), h("p", { class: "wide" }, "Kept whole, with their bytes, until someone retries or drops them.")), rows.length ? table("Dead letters by reason", [["Reason", ""], ["Why, and the first bytes", ""], ["What now", "num"]], rows) : h("p", { class: "sheet small dim2" }, "They are older than the time that is shown."));
}

export function open(place) {
  document.title = "Delivery · axonpush";
  const node = h("div", { class: "view" }, loadingRows(8));
  let query = place.query;
  let last = null;
  let drawnPeriod = "";

  // The reconciliation is shown also while the lists below it cannot be read.
  async function load(isPoll = false) {
    const asked = query;
    const statsPeriod = query.get("statsPeriod") ?? "7d";
    let said = "";
    const unread = (error) => {
      said = `Dead letters and refusals cannot be read; trying again. ${error.message}`;
      return last?.problems ?? { deadLetters: [], refusals: [] };
    };
    try {
      const [told, problems] = await Promise.all([get(api("/delivery/"), null, { isPoll }), get(api("/delivery/problems/"), { statsPeriod }, { isPoll }).catch(unread)]);
      if (asked !== query) return; // another time was chosen meanwhile
      last = { told, problems };
      draw(told, problems, statsPeriod, said);
    } catch (error) {
      if (asked !== query) return;
      if (last) draw(last.told, last.problems, statsPeriod, `Could not refresh; trying again. ${error.message}`);
      else replace(node, h("h1", null, "Delivery"), h("div", { class: "card" }, failure(error, () => load())));
    }
  }

  function draw(told, problems, statsPeriod, said) {
    // What somebody has opened or is at stays as it is, until another time is chosen.
    const isSame = drawnPeriod === statsPeriod;
    if (isSame && (node.querySelector("details[open]") || node.querySelector(":focus-visible"))) return;
    drawnPeriod = statsPeriod;
    const menu = h("span", { class: "end row" }, choiceMenu("Time", PERIODS, statsPeriod, (value) => change({ statsPeriod: value === "7d" ? "" : value })));
    const first = told.total ? heading(told, menu) : h("div", { class: "row wrap lead" }, h("h1", null, "Delivery"), menu);
    const equation = told.total
      ? h("section", { class: "card", "aria-label": "Reconciliation" }, ledger(told.total), told.projects.length > 0 && table("By project", [["Project", ""], ["accepted", "num"], ["rows", "num"], ["merged", "num"], ["rejected", "num"], ["dropped", "num"], ["dead", "num"], ["queued", "num"], ["difference", "num"]], told.projects.map(projectRow)))
      : h("div", { class: "card" }, empty(told.trouble ? `Nothing can be counted now: ${told.trouble}` : "Counting. The first numbers are here in some seconds; they come from the janitor, so it must run."));
    replace(node, first, said && h("p", { class: "problem", role: "status" }, said), h("div", { class: "stack" }, equation, deadCard(problems.deadLetters, told.deadLetters), h("div", { class: "half" }, workersCard(told.workers), refusalsCard(problems.refusals))));
  }

  function heading(told, menu) {
    const [level, words] = headline(told);
    const ours = isLost(told) && h("p", { class: "problem" }, "This is our fault, not yours. Please report it: ", copyButton("Copy report", JSON.stringify(told, null, 2)));
    const since = told.heldSince ? `bodies since ${exact(told.heldSince)}; ` : "";
    const checked = new Date(told.checkedSeconds * 1000).toISOString();
    return [h("div", { class: "row wrap lead" }, h("h1", null, mark(level, level === "ok" ? "" : level), words), h("p", { class: "dim2" }, since, "checked ", ago(checked), told.isOld && ", which is long ago: does the janitor run?"), menu), ours];
  }

  load();
  const timer = setInterval(() => !document.hidden && load(true), EVERY_MS);
  return {
    node,
    update(next) {
      query = next.query;
      last = null;
      load();
    },
    close: () => clearInterval(timer),
    keys: { r: ["read the numbers again", () => load()] },
  };
}

