// Logs: search, newest at the top; live, newest at the bottom.
import { button, h, replace, svg } from "../../dom/elements.js";
import { plural, whole } from "../../dom/format.js";
import { exact } from "../../dom/times.js";
import { get, page } from "../../shell/api.js";
import { change, go, here, withParameters } from "../../shell/router.js";
import { api } from "../../shell/session.js";
import { empty, failure, loadingRows } from "../../shell/states.js";
import { filterBar } from "../issues/filter.js";
import { lineElement } from "./lines.js";
import { follow } from "./stream.js";

const PERIODS = [["1h", "1 hour"], ["15m", "15 minutes"], ["24h", "24 hours"], ["14d", "14 days"]];
const FIELDS = ["id", "timestamp", "severity", "message", "service.name", "project", "trace", "span_id"];
const PER_PAGE = 100;
const KEPT = 2000;
const NEAR_END_PX = 80;

export function open(place) {
  document.title = "Logs · axonpush";
  const node = h("div", { class: "view" });
  const chart = h("div");
  const list = h("div", { class: "card" });
  const foot = h("div", { class: "row foot" });
  let asking = new AbortController();
  let tail = null;
  let query = place.query;

  const words = () => query.get("query") ?? "";
  const period = () => query.get("statsPeriod") ?? "1h";
  const isLive = () => query.get("live") === "1";
  const filter = (one) => change({ query: [words(), one].filter(Boolean).join(" ") });
  const toggle = () => change({ live: isLive() ? "" : "1" });

  function build() {
    asking.abort();
    asking = new AbortController();
    tail?.close();
    tail = null;
    const live = h("button", { type: "button", class: "btn", "aria-pressed": String(isLive()), onclick: toggle }, h("span", { class: isLive() ? "live" : null }, "Live"), h("kbd", { class: "wide", "aria-hidden": "true" }, "."));
    const bar = filterBar({ query: words(), label: "Search logs", placeholder: "severity:error or words of the line", periods: PERIODS, period: period(), more: [live], dataset: "logs" });
    replace(node, h("div", { class: "row wrap lead" }, h("h1", null, "Logs")), bar, bar.problem, chart, list, foot);
    replace(foot);
    if (isLive()) startTail();
    else load(bar);
  }

  async function load(bar) {
    const patience = setTimeout(() => (list.hasChildNodes() ? list.classList.add("stale") : replace(list, loadingRows(20, 22))), 150);
    const asked = { dataset: "logs", query: words(), statsPeriod: period(), project: query.get("project") };
    const signal = { signal: asking.signal };
    drawChart(asked, signal);
    try {
      const found = await page(api("/events/"), { ...asked, field: FIELDS, sort: "-timestamp", per_page: PER_PAGE, cursor: query.get("cursor") }, signal);
      drawLines(found);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error.status === 400 && error.message.startsWith("query")) bar.fail(error.message);
      else replace(list, failure(error, build));
    } finally {
      clearTimeout(patience);
      list.classList.remove("stale");
    }
  }

  function drawLines({ entries, cursor }) {
    if (!entries.data.length) {
      const wider = period() !== "24h" && button("Look at 24 hours", () => change({ statsPeriod: "24h" }));
      return replace(list, empty("No lines of this time match.", wider, button("Wait for new ones", toggle)));
    }
    replace(list, h("ol", { class: "logs", "aria-label": "Lines, the newest first" }, entries.data.map((line) => lineElement(line, { filter }))));
    const previous = query.get("cursor") && button("Newer", () => change({ cursor: cursor.previous }), { kind: "low" });
    replace(foot, h("span", { class: "end row" }, previous, cursor.next && button("Older", () => change({ cursor: cursor.next }), { kind: "low" })));
  }

  async function drawChart(asked, signal) {
    try {
      const found = await get(api("/events-stats/"), { ...asked, yAxis: ["count()", "count_if(severity_number,greaterOrEquals,17)"] }, signal);
      const [all, bad] = Object.values(found).map((one) => one.data ?? []);
      replace(chart, histogram(all, bad));
    } catch {
      replace(chart);
    }
  }

  // Sticks to the end; any scroll away from it pauses.
  function startTail() {
    replace(chart);
    const lines = h("ol", { class: "logs", "aria-label": "New lines, the newest last" });
    const box = h("div", { class: "scroller", tabindex: "0", "aria-label": "New lines" }, lines);
    const said = h("div", { class: "note-line row", role: "status" }, "Listening. Nothing matches yet.");
    replace(list, box, said);
    const atEnd = () => box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_END_PX;
    tail = follow(
      { words: words(), project: query.get("project") },
      {
        show(fresh) {
          for (const line of fresh) lines.append(lineElement(line, { filter }));
          while (lines.childElementCount > KEPT) lines.firstChild.remove();
          if (fresh.length) box.scrollTop = box.scrollHeight;
        },
        tell(text, isPaused) {
          const calm = lines.hasChildNodes() ? "Live" : "Listening. Nothing matches yet.";
          replace(said, text || calm, isPaused && button("Go on", () => (tail.goOn(), (box.scrollTop = box.scrollHeight)), { kind: "low" }));
        },
      },
    );
    box.addEventListener("scroll", () => (atEnd() ? tail?.isPaused && tail.goOn() : tail?.pause()));
    lines.addEventListener("click", () => tail?.pause());
  }

  build();
  return {
    node,
    update(next) {
      query = next.query;
      build();
    },
    close() {
      asking.abort();
      tail?.close();
    },
    keys: {
      ".": ["live on or off", () => (tail ? (tail.isPaused ? tail.goOn() : toggle()) : toggle())],
      Escape: ["stop live", () => (isLive() ? go(withParameters({ live: "" })) : here() && false)],
    },
  };
}

function histogram(all, bad) {
  const counts = all.map(([, [{ count }]]) => count);
  const errors = (bad ?? []).map(([, [{ count }]]) => count);
  const most = Math.max(1, ...counts);
  const sum = (list) => list.reduce((total, count) => total + count, 0);
  const width = 100 / Math.max(1, counts.length);
  const rect = (count, index, kind) => count > 0 && svg("rect", { class: kind, x: `${(index * width).toFixed(3)}%`, width: `${(width * 0.86).toFixed(3)}%`, y: 48 - Math.max(1, (count / most) * 46), height: Math.max(1, (count / most) * 46) });
  const words = `${plural(sum(counts), "line")}, ${plural(sum(errors), "error")}`;
  const first = all[0]?.[0];
  return [
    svg("svg", { class: "histogram", role: "img", "aria-label": `${words}; at most ${whole(most)} in one bar` }, counts.map((count, index) => rect(count, index, "")), errors.map((count, index) => rect(count, index, "bad"))),
    h("p", { class: "small dim2 row" }, words, h("span", { class: "end dim" }, first ? `from ${exact(new Date(first * 1000).toISOString())}` : "")),
  ];
}
