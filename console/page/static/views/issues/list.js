// The list of issues: what broke, is it new, whom does it hit.
import { button, h, replace } from "../../dom/elements.js";
import { plural, short, whole } from "../../dom/format.js";
import { clock } from "../../dom/times.js";
import { get, page } from "../../shell/api.js";
import { choiceMenu } from "../../shell/menu.js";
import { change, go, withParameters } from "../../shell/router.js";
import { api, path, whyNot } from "../../shell/session.js";
import { empty, failure, loadingRows } from "../../shell/states.js";
import { changeIssues } from "./changes.js";
import { filterBar } from "./filter.js";
import { firstSteps } from "./first_steps.js";
import { between, HINTS, plainHead, questionOf, sortHead, wordsOf } from "./list_parts.js";
import { issueRow } from "./row.js";

const PERIODS = [["24h", "24 hours"], ["1h", "1 hour"], ["14d", "14 days"], ["90d", "90 days"]];
const SORTS = [["date", "Last seen first"], ["new", "First seen first"], ["freq", "Most events first"], ["user", "Most users first"]];
const COLUMNS = [["Events", "freq"], ["Users", "user"], ["Last seen", "date"], ["First seen", "new"]];
const EVERY_MS = 5000;
const PER_PAGE = 25;
const DEFAULT_QUERY = "is:unresolved";

function read(query) {
  return {
    query: query.get("query") ?? DEFAULT_QUERY,
    statsPeriod: query.get("statsPeriod") ?? "24h",
    sort: query.get("sort") ?? "date",
    cursor: query.get("cursor") ?? "",
    project: query.get("project") ?? "",
    environment: query.getAll("environment"),
    isLive: query.get("live") !== "0",
  };
}

class IssueList {
  constructor(place) {
    this.node = h("div", { class: "view" });
    this.table = h("div", { class: "card" });
    this.summary = h("p", { class: "dim2", "aria-live": "polite" });
    this.foot = h("div", { class: "row wrap foot" });
    this.chosen = new Map();
    this.asked = read(place.query);
    this.shown = { entries: [], cursor: {} };
    this.at = -1;
    this.last = null;
    this.total = null;
    this.reading = new AbortController();
  }

  chart() {
    const { statsPeriod } = this.asked;
    return ["24h", "1h"].includes(statsPeriod) ? "24h" : statsPeriod === "14d" ? "14d" : "30d";
  }

  list(isPoll = false) {
    const { query, statsPeriod, sort, cursor, project, environment } = this.asked;
    const all = { statsPeriod, sort, cursor, project, environment, limit: PER_PAGE, groupStatsPeriod: this.chart() };
    return page(api("/issues/") + questionOf(all, wordsOf(query)), null, { signal: this.reading.signal, isPoll });
  }

  // Of all pages; asked for when there are several, and once for a question.
  async count() {
    this.counted = this.reading;
    const { query, statsPeriod, project, environment } = this.asked;
    const words = wordsOf(query);
    try {
      const totals = await get(api("/issues-count/") + questionOf({ statsPeriod, project, environment }, words), null, { signal: this.reading.signal });
      this.total = Math.max(totals[words] ?? 0, this.shown.entries.length);
      this.draw();
    } catch {
      // the list itself says what is wrong
    }
  }

  async load() {
    this.total = null;
    this.reading.abort();
    this.reading = new AbortController();
    const { table } = this;
    const patience = setTimeout(() => (table.hasChildNodes() ? table.classList.add("stale") : replace(table, loadingRows(12))), 150);
    try {
      this.shown = await this.list();
      this.draw();
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error.status === 400 && error.message.startsWith("query")) this.bar.fail(error.message);
      else replace(table, failure(error, () => this.load()));
    } finally {
      clearTimeout(patience);
      table.classList.remove("stale");
    }
  }

  // What is new is told, not put into the list, where rows would move away from the pointer; known rows change their numbers in place.
  async refresh() {
    if (document.hidden || !this.asked.isLive || this.asked.cursor || this.table.classList.contains("stale")) return;
    const fresh = await this.list(true).catch(() => null);
    if (!fresh) return;
    if (this.shown.entries.length) return this.renew(fresh);
    this.shown = fresh;
    if (fresh.entries.length) this.draw();
  }

  renew(fresh) {
    const known = new Set(this.shown.entries.map((issue) => issue.id));
    const byId = new Map(fresh.entries.map((issue) => [issue.id, issue]));
    for (const row of this.rows()) {
      const issue = byId.get(row.dataset.id);
      if (!issue || row.classList.contains("gone") || row.contains(document.activeElement)) continue;
      const made = this.row(issue);
      made.classList.toggle("at", row.classList.contains("at"));
      row.replaceWith(made);
    }
    this.shown.entries = this.shown.entries.map((issue) => byId.get(issue.id) ?? issue);
    this.table.querySelector(".fresh")?.remove();
    const added = fresh.entries.filter((issue) => !known.has(issue.id)).length;
    const show = () => {
      this.shown = fresh;
      this.draw();
    };
    if (added) this.table.prepend(h("button", { type: "button", class: "fresh", onclick: show }, added === 1 ? "1 new issue" : `${added} new issues`));
  }

  // --- drawing

  build() {
    const { query, statsPeriod, sort, isLive } = this.asked;
    const live = h("button", { type: "button", class: "btn", "aria-pressed": String(isLive), onclick: () => this.toggleLive() }, h("span", { class: isLive ? "live" : null }, "Live"));
    const order = choiceMenu("Order", SORTS, sort, (value) => change({ sort: value === "date" ? "" : value }));
    this.bar = filterBar({ query, label: "Search issues", placeholder: "level:error or words of the title", periods: PERIODS, period: statsPeriod, more: [order, live] });
    replace(this.node, h("div", { class: "row wrap lead" }, h("h1", null, "Issues"), this.summary), this.bar, this.bar.problem, this.table, this.foot);
  }

  rows() {
    return [...this.table.querySelectorAll("tbody tr")];
  }

  row(issue) {
    return issueRow(issue, { chart: this.chart(), now: clock.now(), selected: this.chosen.has(issue.id), onSelect: (one, event) => this.select(one, event) });
  }

  period() {
    return PERIODS.find(([value]) => value === this.asked.statsPeriod)?.[1] ?? this.asked.statsPeriod;
  }

  isPart() {
    return Boolean(this.shown.cursor.next || this.asked.cursor);
  }

  head() {
    const { entries } = this.shown;
    const all = h("input", { type: "checkbox", "aria-label": `Select all ${entries.length} shown`, onclick: () => this.selectAll(all.checked) });
    all.checked = this.chosen.size > 0 && this.chosen.size === entries.length;
    const period = { "24h": "24 hours", "14d": "14 days", "30d": "30 days" }[this.chart()];
    const heads = [plainHead(all), plainHead("Issue"), plainHead("Summary", "phone"), plainHead(period), COLUMNS.map((column) => sortHead(column, this.asked.sort))];
    return h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads));
  }

  drawSummary() {
    const { entries } = this.shown;
    const events = short(entries.reduce((sum, issue) => sum + Number(issue.count), 0));
    const isPart = this.isPart();
    const number = !isPart ? plural(entries.length, "issue") : this.total === null ? `${entries.length} shown` : `${whole(this.total)} issues`;
    const what = isPart ? `; the ${entries.length} shown have ${events} events` : `, with ${events} events`;
    replace(this.summary, entries.length ? [number, h("span", { class: "wide" }, `${what} in the last ${this.period()}`)] : "");
  }

  drawFoot() {
    const { entries, cursor } = this.shown;
    const next = cursor.next && button("Next", () => change({ cursor: cursor.next }), { kind: "low" });
    const previous = this.asked.cursor && button("Previous", () => change({ cursor: cursor.previous || "" }), { kind: "low" });
    const begin = Number(this.asked.cursor.split(":")[1] ?? 0);
    const of = this.isPart() && this.total !== null ? ` of ${whole(this.total)}` : "";
    const place = h("span", { class: "small dim" }, `${whole(begin + 1)} to ${whole(begin + entries.length)}${of}`);
    replace(this.foot, h("p", { class: "small dim wide" }, HINTS), h("span", { class: "end row" }, place, previous, next));
  }

  draw() {
    const focused = document.activeElement?.closest?.("tr")?.dataset.id;
    const { entries } = this.shown;
    for (const id of this.chosen.keys()) if (!entries.some((issue) => issue.id === id)) this.chosen.delete(id);
    this.drawSummary();
    if (!entries.length) {
      replace(this.foot);
      return replace(this.table, this.asked.cursor ? empty("No further issues.", button("First page", () => change({ cursor: "" }))) : this.nothing());
    }
    if (this.isPart() && this.counted !== this.reading) this.count();
    const body = h("tbody", { role: "rowgroup" }, entries.map((issue) => this.row(issue)));
    replace(this.table, this.bulk(), h("table", { class: "list issues", role: "table", "aria-label": "Issues" }, this.head(), body));
    this.drawFoot();
    this.move(Math.min(this.at, entries.length - 1), false);
    if (focused) this.rows().find((row) => row.dataset.id === focused)?.querySelector("a")?.focus({ preventScroll: true });
  }

  nothing() {
    const { query, project, environment, statsPeriod } = this.asked;
    const isDefault = query === DEFAULT_QUERY;
    const words = isDefault ? `No unresolved issues in the last ${this.period()}.` : `No issues of the last ${this.period()} match.`;
    const wider = statsPeriod !== "14d" && button("Look at 14 days", () => change({ statsPeriod: "14d" }));
    const box = h("div", null, empty(words, wider, query !== "*" && button("Show all issues", () => change({ query: "*" }))));
    if (isDefault && !project && !environment.length) firstSteps(box);
    return box;
  }

  bulk() {
    if (!this.chosen.size) return null;
    const why = whyNot("event:write");
    const act = (label, status) => button(label, () => this.apply([...this.chosen.values()], status), { kind: "low", why });
    const acts = [act("Resolve", "resolved"), act("Resolve in next release", "resolvedInNextRelease"), act("Archive", "ignored"), act("Open again", "unresolved")];
    return h("div", { class: "row wrap selected", role: "status" }, h("b", null, `${this.chosen.size} selected`), acts, button("Clear", () => this.clear(), { kind: "low quiet" }));
  }

  // --- choosing and changing

  clear() {
    this.chosen.clear();
    this.draw();
  }

  select(issue, event) {
    const isOn = !this.chosen.has(issue.id);
    const range = event?.shiftKey && this.last ? between(this.shown.entries, this.last, issue) : [issue];
    for (const one of range) isOn ? this.chosen.set(one.id, one) : this.chosen.delete(one.id);
    this.last = issue;
    this.draw();
  }

  selectAll(isOn) {
    this.chosen.clear();
    if (isOn) this.shown.entries.forEach((issue) => this.chosen.set(issue.id, issue));
    this.draw();
  }

  // Rows stay where they are, struck through, until the list is asked for again.
  apply(issues, status) {
    const isGone = this.asked.query.includes(DEFAULT_QUERY);
    const shown = (issue, as) => {
      issue.status = as === "resolvedInNextRelease" ? "resolved" : as;
      const row = this.rows().find((one) => one.dataset.id === issue.id);
      row?.classList.toggle("gone", isGone && issue.status !== "unresolved");
    };
    this.clear();
    changeIssues(issues, status, { shown });
  }

  move(to, focus = true) {
    this.at = to;
    const rows = this.rows();
    rows.forEach((row, index) => row.classList.toggle("at", index === to));
    if (!focus || !rows[to]) return;
    rows[to].querySelector("a").focus();
    rows[to].scrollIntoView({ block: "nearest" });
  }

  toggleLive() {
    go(withParameters({ live: this.asked.isLive ? "0" : "" }), { instead: true });
  }

  current() {
    return this.shown.entries[this.at];
  }

  applyKey(status) {
    const many = this.chosen.size ? [...this.chosen.values()] : this.current() ? [this.current()] : [];
    return !whyNot("event:write") && many.length && this.apply(many, status);
  }

  keys() {
    return {
      j: ["next row", () => this.move(Math.min(this.at + 1, this.shown.entries.length - 1))],
      k: ["row before", () => this.move(Math.max(this.at - 1, 0))],
      Enter: ["open the issue", () => (this.current() ? go(path(`/issues/${this.current().id}/`)) : false)],
      x: ["select the issue", () => this.current() && this.select(this.current())],
      e: ["resolve", () => this.applyKey("resolved")],
      a: ["archive", () => this.applyKey("ignored")],
      ".": ["live on or off", () => this.toggleLive()],
      Escape: ["clear the selection", () => (this.chosen.size ? this.clear() : false)],
    };
  }
}

export function open(place) {
  document.title = "Issues · axonpush";
  const list = new IssueList(place);
  list.build();
  list.load();
  const timer = setInterval(() => list.refresh(), EVERY_MS);
  return {
    node: list.node,
    update(next) {
      list.asked = read(next.query);
      list.build();
      list.load();
    },
    close() {
      clearInterval(timer);
      list.reading.abort();
    },
    keys: list.keys(),
  };
}
