// Traces: the first spans of each service, the newest first; or runs of agents.
import { button, h, replace, svg } from "../../dom/elements.js";
import { duration } from "../../dom/format.js";
import { mark } from "../../dom/marks.js";
import { cell, row, table } from "../../dom/table.js";
import { text } from "../../dom/text.js";
import { ago } from "../../dom/times.js";
import { page } from "../../shell/api.js";
import { change } from "../../shell/router.js";
import { api, path } from "../../shell/session.js";
import { empty, fill } from "../../shell/states.js";
import { filterBar } from "../issues/filter.js";
import { aiList } from "./ai_list.js";

const PERIODS = [["24h", "24 hours"], ["1h", "1 hour"], ["14d", "14 days"]];
const FIELDS = ["trace", "span_id", "transaction", "service.name", "project", "span.duration", "span.status", "timestamp"];
const FINE = new Set(["", "ok", "unset", "cancelled", "unknown", null]);
const PER_PAGE = 50;
const HEADS = [["Began with", ""], ["Service", "wide"], ["Took", "num"], ["Share of the longest", "wide", true], ["Began", "num"]];

function traceRow(one, longest) {
  const took = one["span.duration"] ?? 0;
  const share = `${((took / (longest || 1)) * 100).toFixed(1)}%`;
  const meter = svg("svg", { class: "meter", "aria-hidden": "true" }, svg("rect", { class: "all", width: "100%", height: 6, rx: 3 }), svg("rect", { width: share, height: 6, rx: 3 }));
  const link = one.trace ? h("a", { href: path(`/traces/${one.trace}/`, { span: one.span_id }) }, text(one.transaction || "(no name)", 200)) : text(one.transaction, 200);
  return row(
    cell({ class: "first" }, !FINE.has(one["span.status"]) && [mark("error", "failed"), " "], link),
    cell({ class: "wide dim2" }, text(one["service.name"] || one.project, 80)),
    cell({ class: "num" }, duration(took)),
    cell({ class: "wide" }, meter),
    cell({ class: "num dim2" }, ago(one.timestamp)),
  );
}

function lead(tab) {
  const tabs = [["", "Traces"], ["ai", "AI runs"]].map(([name, words]) => h("button", { type: "button", class: "btn low", "aria-pressed": String(name === tab), onclick: () => change({ tab: name, query: "" }) }, words));
  return h("div", { class: "row wrap lead" }, h("h1", null, "Traces"), h("div", { class: "row", role: "group", "aria-label": "Kind of list" }, tabs));
}

// The list of traces, as a function of the address.
function traceList(node) {
  const box = h("div", { class: "card" });
  const foot = h("div", { class: "row foot" });
  const draw = ({ entries, cursor }, query) => {
    const rows = entries.data;
    const longest = Math.max(0, ...rows.map((one) => one["span.duration"] ?? 0));
    const previous = query.get("cursor") && button("Previous", () => change({ cursor: cursor.previous }), { kind: "low" });
    replace(foot, h("span", { class: "end row" }, previous, cursor.next && button("Next", () => change({ cursor: cursor.next }), { kind: "low" })));
    if (!rows.length) return empty("No traces of this time match.", button("Look at 14 days", () => change({ statsPeriod: "14d" })));
    return table("Traces", HEADS, rows.map((one) => traceRow(one, longest)));
  };
  return (query, signal) => {
    const words = query.get("query") ?? "";
    const statsPeriod = query.get("statsPeriod") ?? "24h";
    const bar = filterBar({ query: words, label: "Search traces", placeholder: "service.name:web span.duration:>1s", periods: PERIODS, period: statsPeriod, dataset: "spans" });
    replace(node, lead(""), bar, bar.problem, box, foot);
    const asked = { dataset: "transactions", field: FIELDS, query: words, statsPeriod, project: query.get("project") ?? "", sort: "-timestamp", per_page: PER_PAGE, cursor: query.get("cursor") };
    const read = () => page(api("/events/"), asked, { signal }).catch((error) => {
      if (error.status !== 400 || !error.message.startsWith("query")) throw error;
      bar.fail(error.message); // the list stays
      throw new DOMException("the query is not understood", "AbortError");
    });
    return fill(box, read, (found) => draw(found, query));
  };
}

export function open(place) {
  document.title = "Traces · axonpush";
  const node = h("div", { class: "view" });
  const lists = { "": traceList(node), ai: aiList(node, lead("ai"), PERIODS) };
  let asking = new AbortController();
  const load = (query) => {
    asking.abort(); // an earlier answer may not come last
    asking = new AbortController();
    lists[query.get("tab") === "ai" ? "ai" : ""](query, asking.signal);
  };
  load(place.query);
  return { node, update: (next) => load(next.query), close: () => asking.abort() };
}
