// Logs: search, newest at the top; live, newest at the bottom.
import { button, h, replace } from "../../dom/elements.js";
import { get, page } from "../../shell/api.js";
import { change, go, here, withParameters } from "../../shell/router.js";
import { api } from "../../shell/session.js";
import { empty, failure, loadingRows } from "../../shell/states.js";
import { filterBar } from "../issues/filter.js";
import { histogram } from "./histogram.js";
import { lineElement } from "./lines.js";
import { LiveLines } from "./live.js";

const PERIODS = [["1h", "1 hour"], ["15m", "15 minutes"], ["24h", "24 hours"], ["14d", "14 days"]];
const FIELDS = ["id", "timestamp", "severity", "message", "service.name", "project", "trace", "span_id"];
const SERIES = ["count()", "count_if(severity_number,greaterOrEquals,17)"];
const PER_PAGE = 100;
const PATIENCE_MS = 150;

function read(query) {
  return {
    words: query.get("query") ?? "",
    period: query.get("statsPeriod") ?? "1h",
    isLive: query.get("live") === "1",
    project: query.get("project"),
    cursor: query.get("cursor"),
  };
}

class LogsView {
  constructor(place) {
    this.node = h("div", { class: "view" });
    this.chart = h("div");
    this.list = h("div", { class: "card" });
    this.foot = h("div", { class: "row foot" });
    this.reading = new AbortController();
    this.live = null;
    this.asked = read(place.query);
    this.filter = (term) => change({ query: [this.asked.words, term].filter(Boolean).join(" ") });
    this.toggle = () => change({ live: this.asked.isLive ? "" : "1" });
  }

  build() {
    this.close();
    this.reading = new AbortController();
    const bar = this.bar();
    replace(this.node, h("div", { class: "row wrap lead" }, h("h1", null, "Logs")), bar, bar.problem, this.chart, this.list, this.foot);
    replace(this.foot);
    if (this.asked.isLive) this.startLive();
    else this.load(bar);
  }

  bar() {
    const { words, period, isLive } = this.asked;
    const dot = h("span", { class: isLive ? "live" : null }, "Live");
    const key = h("kbd", { class: "wide", "aria-hidden": "true" }, ".");
    const live = h("button", { type: "button", class: "btn", "aria-pressed": String(isLive), onclick: this.toggle }, dot, key);
    return filterBar({ query: words, label: "Search logs", placeholder: "severity:error or words of the line", periods: PERIODS, period, more: [live], dataset: "logs" });
  }

  async load(bar) {
    const { list } = this;
    const { words, period, project, cursor } = this.asked;
    const patience = setTimeout(() => (list.hasChildNodes() ? list.classList.add("stale") : replace(list, loadingRows(20, 22))), PATIENCE_MS);
    const question = { dataset: "logs", query: words, statsPeriod: period, project };
    const { signal } = this.reading;
    this.drawChart(question, signal);
    try {
      const lines = { ...question, field: FIELDS, sort: "-timestamp", per_page: PER_PAGE, cursor };
      this.drawLines(await page(api("/events/"), lines, { signal }));
    } catch (error) {
      this.fail(error, bar);
    } finally {
      clearTimeout(patience);
      list.classList.remove("stale");
    }
  }

  fail(error, bar) {
    if (error.name === "AbortError") return;
    if (error.status === 400 && error.message.startsWith("query")) bar.fail(error.message);
    else replace(this.list, failure(error, () => this.build()));
  }

  drawLines({ entries, cursor }) {
    if (!entries.data.length) return this.drawNone();
    const lines = entries.data.map((line) => lineElement(line, { filter: this.filter }));
    replace(this.list, h("ol", { class: "logs", "aria-label": "Lines, the newest first" }, lines));
    const to = (words, there) => button(words, () => change({ cursor: there }), { kind: "low" });
    replace(this.foot, h("span", { class: "end row" }, this.asked.cursor && to("Newer", cursor.previous), cursor.next && to("Older", cursor.next)));
  }

  drawNone() {
    const wider = this.asked.period !== "24h" && button("Look at 24 hours", () => change({ statsPeriod: "24h" }));
    replace(this.list, empty("No lines of this time match.", wider, button("Wait for new ones", this.toggle)));
  }

  async drawChart(question, signal) {
    try {
      const series = await get(api("/events-stats/"), { ...question, yAxis: SERIES }, { signal });
      const [all, bad] = Object.values(series).map(({ data }) => data ?? []);
      replace(this.chart, histogram(all, bad ?? []));
    } catch {
      replace(this.chart);
    }
  }

  startLive() {
    const { words, project } = this.asked;
    replace(this.chart);
    this.live = new LiveLines({ words, project }, this.filter);
    replace(this.list, this.live.box, this.live.status);
  }

  update(next) {
    this.asked = read(next.query);
    this.build();
  }

  close() {
    this.reading.abort();
    this.live?.close();
    this.live = null;
  }

  keys() {
    return {
      ".": ["live on or off", () => (this.live?.isPaused ? this.live.goOn() : this.toggle())],
      Escape: ["stop live", () => (this.asked.isLive ? go(withParameters({ live: "" })) : here() && false)],
    };
  }
}

export function open(place) {
  document.title = "Logs · axonpush";
  const view = new LogsView(place);
  view.build();
  return { node: view.node, update: (next) => view.update(next), close: () => view.close(), keys: view.keys() };
}
