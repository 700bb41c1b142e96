// Monitors: jobs that check in, the failing ones first.
import { h } from "../../dom/elements.js";
import { duration } from "../../dom/format.js";
import { mark } from "../../dom/marks.js";
import { cell, row as tableRow, table as tableOf } from "../../dom/table.js";
import { text } from "../../dom/text.js";
import { ago } from "../../dom/times.js";
import { page } from "../../shell/api.js";
import { copyButton } from "../../shell/dialogs.js";
import { api, path } from "../../shell/session.js";
import { fill } from "../../shell/states.js";
import { runStrip, runWord, schedule } from "./runs.js";

const EVERY_MS = 10000;
const BAD = new Set(["error", "timeout", "missed_checkin"]);

const statusOf = (monitor) => monitor.environments?.[0]?.status ?? "ok";

function row(monitor) {
  const status = statusOf(monitor);
  const [last] = monitor.runs ?? [];
  const plan = schedule(monitor.config);
  return tableRow(
    cell({ class: "first" }, h("a", { href: path(`/monitors/${encodeURIComponent(monitor.slug)}/`, { project: monitor.project.slug }) }, text(monitor.name, 120)), plan && h("span", { class: "small dim" }, " ", text(plan, 80))),
    cell({ class: "full" }, runStrip(monitor.runs ?? [])),
    cell({ class: "num", "data-l": "last run" }, ago(monitor.environments?.[0]?.lastCheckIn)),
    cell({ class: "num wide" }, last?.duration ? duration(last.duration) : h("span", { class: "dim" }, "unknown")),
    cell({ class: "num" }, h("span", { class: `badge ${BAD.has(status) ? "error" : status === "ok" ? "ok" : ""}` }, mark(BAD.has(status) ? "error" : status === "ok" ? "ok" : "info", ""), runWord(status))),
  );
}

function nothing() {
  const line = `curl "${location.protocol}//RECEIVER/api/CHANNEL/cron/nightly-import/KEY/?status=ok"`;
  return h("div", { class: "nothing" }, h("p", null, "No job has checked in yet. The last line of a job can do it:"), h("pre", { class: "snippet", tabindex: "0" }, line, copyButton("Copy", line)));
}

function draw({ entries }) {
  if (!entries.length) return nothing();
  const sorted = [...entries].sort((one, other) => BAD.has(statusOf(other)) - BAD.has(statusOf(one)) || one.name.localeCompare(other.name));
  const heads = [["Monitor", ""], ["last 30 runs (oldest left)", "wide"], ["last run", "num"], ["took", "num wide"], ["state", "num"]];
  return tableOf("Monitors, failing ones first", heads, sorted.map(row));
}

export function open(place) {
  document.title = "Monitors · axonpush";
  const table = h("div", { class: "card" });
  let query = place.query;
  const read = (isPoll) => page(api("/monitors/"), { project: query.get("project"), limit: 100 }, { isPoll });
  const load = (isPoll = false) => fill(table, () => read(isPoll), draw);
  load();
  const timer = setInterval(() => !document.hidden && !table.contains(document.activeElement) && load(true), EVERY_MS);
  return {
    node: h("div", { class: "view" }, h("div", { class: "row wrap lead" }, h("h1", null, "Monitors"), h("p", { class: "dim2" }, "jobs that check in")), table),
    update(next) {
      query = next.query;
      load();
    },
    close: () => clearInterval(timer),
  };
}

