// Traces: the first spans of each service, the newest first.
import { button, h, replace, svg } from "../../dom/elements.js";
import { duration } from "../../dom/format.js";
import { mark } from "../../dom/marks.js";
import { text } from "../../dom/text.js";
import { ago } from "../../dom/times.js";
import { page } from "../../shell/api.js";
import { change } from "../../shell/router.js";
import { api, path } from "../../shell/session.js";
import { empty, failure, loadingRows } from "../../shell/states.js";
import { filterBar } from "../issues/filter.js";

const PERIODS = [["24h", "24 hours"], ["1h", "1 hour"], ["14d", "14 days"]];
const FIELDS = ["trace", "span_id", "transaction", "service.name", "project", "span.duration", "span.status", "timestamp"];
const FINE = new Set(["", "ok", "unset", "cancelled", "unknown", null]);
const PER_PAGE = 50;

export function open(place) {
  document.title = "Traces · axonpush";
  const node = h("div", { class: "view" });
  const table = h("div", { class: "card" });
  const foot = h("div", { class: "row foot" });
  let asking = new AbortController();

  async function load(query) {
    asking.abort();
    asking = new AbortController();
    const words = query.get("query") ?? "";
    const statsPeriod = query.get("statsPeriod") ?? "24h";
    const bar = filterBar({ query: words, label: "Search traces", placeholder: "service.name:web span.duration:>1s", periods: PERIODS, period: statsPeriod });
    replace(node, h("div", { class: "row wrap lead" }, h("h1", null, "Traces"), h("p", { class: "dim2" }, "what began in each service, the newest first")), bar, bar.problem, table, foot);
    const patience = setTimeout(() => (table.hasChildNodes() ? table.classList.add("stale") : replace(table, loadingRows(12))), 150);
    try {
      const project = query.get("project") ?? "";
      const found = await page(api("/events/"), { dataset: "transactions", field: FIELDS, query: words, statsPeriod, project, sort: "-timestamp", per_page: PER_PAGE, cursor: query.get("cursor") }, { signal: asking.signal });
      draw(found, query);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error.status === 400 && error.message.startsWith("query")) bar.fail(error.message);
      else replace(table, failure(error, () => load(query)));
    } finally {
      clearTimeout(patience);
      table.classList.remove("stale");
    }
  }

  function draw({ entries, cursor }, query) {
    const rows = entries.data;
    if (!rows.length) {
      replace(table, empty("No traces of this time match.", button("Look at 14 days", () => change({ statsPeriod: "14d" }))));
      return replace(foot);
    }
    const longest = Math.max(...rows.map((row) => row["span.duration"] ?? 0));
    const heads = [["Began with", ""], ["Service", "wide"], ["Took", "num"], ["", "wide"], ["Began", "num"]];
    const head = h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads.map(([words, kind]) => h("th", { role: "columnheader", scope: "col", class: kind }, words || h("span", { class: "hide" }, "Share of the longest")))));
    const body = h("tbody", { role: "rowgroup" }, rows.map((row) => traceRow(row, longest)));
    replace(table, h("table", { class: "list cardlist", role: "table", "aria-label": "Traces" }, head, body));
    const previous = query.get("cursor") && button("Previous", () => change({ cursor: cursor.previous }), { kind: "low" });
    replace(foot, h("span", { class: "end row" }, previous, cursor.next && button("Next", () => change({ cursor: cursor.next }), { kind: "low" })));
  }

  load(place.query);
  return { node, update: (next) => load(next.query), close: () => asking.abort() };
}

function traceRow(row, longest) {
  const isFailed = !FINE.has(row["span.status"]);
  const took = row["span.duration"] ?? 0;
  const share = `${((took / (longest || 1)) * 100).toFixed(1)}%`;
  const meter = svg("svg", { class: "meter", "aria-hidden": "true" }, svg("rect", { class: "all", width: "100%", height: 6, rx: 3 }), svg("rect", { width: share, height: 6, rx: 3 }));
  const link = row.trace ? h("a", { href: path(`/traces/${row.trace}/`, { span: row.span_id }) }, text(row.transaction || "(no name)", 200)) : text(row.transaction, 200);
  return h(
    "tr",
    { role: "row" },
    h("td", { role: "cell", class: "first" }, isFailed && [mark("error", "failed"), " "], link),
    h("td", { role: "cell", class: "wide dim2" }, text(row["service.name"] || row.project, 80)),
    h("td", { role: "cell", class: "num" }, duration(took)),
    h("td", { role: "cell", class: "wide" }, meter),
    h("td", { role: "cell", class: "num dim2" }, ago(row.timestamp)),
  );
}
