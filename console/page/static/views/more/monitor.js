// One monitor: its runs.
import { button, h, replace } from "../../dom/elements.js";
import { duration } from "../../dom/format.js";
import { mark } from "../../dom/marks.js";
import { cell, row as tableRow, table as tableOf } from "../../dom/table.js";
import { plain, text } from "../../dom/text.js";
import { ago, exact } from "../../dom/times.js";
import { page } from "../../shell/api.js";
import { change, go } from "../../shell/router.js";
import { api, path } from "../../shell/session.js";
import { empty, fill } from "../../shell/states.js";
import { runWord } from "./runs.js";

function row(run) {
  const sign = run.status === "ok" ? "ok" : run.status === "active" ? "info" : "error";
  return tableRow(
    cell({ class: "first" }, mark(sign, ""), " ", runWord(run.status)),
    cell({ class: "num", title: exact(run.dateCreated) }, ago(run.dateCreated)),
    cell({ class: "num", "data-l": "took" }, run.duration ? duration(run.duration) : h("span", { class: "dim" }, "unknown")),
    cell({ class: "wide" }, text(run.environment, 60)),
    cell({ class: "wide" }, text(run.release, 60)),
    cell({ class: "num" }, run.traceId && h("a", { href: path(`/traces/${run.traceId}/`) }, "trace")),
  );
}

export function open(place) {
  const slug = place.parts[3];
  document.title = `${plain(slug, 60)} · Monitors · axonpush`;
  const table = h("div", { class: "card" });
  const foot = h("div", { class: "row foot" });
  let query = place.query;
  const read = () => page(api(`/monitors/${encodeURIComponent(slug)}/checkins/`), { project: query.get("project"), cursor: query.get("cursor"), limit: 50 });
  const draw = ({ entries, cursor }) => {
    replace(foot, h("span", { class: "end row" }, query.get("cursor") && button("Newer", () => change({ cursor: cursor.previous }), { kind: "low" }), cursor.next && button("Older", () => change({ cursor: cursor.next }), { kind: "low" })));
    if (!entries.length) return empty("No runs of this monitor are here.");
    const heads = [["Run", ""], ["began", "num"], ["took", "num"], ["environment", "wide"], ["release", "wide"], ["Trace", "num", true]];
    return tableOf("Runs, the newest first", heads, entries.map(row));
  };
  fill(table, read, draw);
  return {
    node: h("div", { class: "view" }, h("nav", { class: "small dim path", "aria-label": "Breadcrumb" }, h("a", { href: path("/monitors/") }, "Monitors")), h("div", { class: "row wrap lead" }, h("h1", null, text(slug, 120))), table, foot),
    update(next) {
      query = next.query;
      fill(table, read, draw);
    },
    keys: { Escape: ["back to the list", () => go(path("/monitors/"))] },
  };
}
