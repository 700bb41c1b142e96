// The list of issues: what broke, is it new, whom does it hit.
import { button, h, replace } from "../../dom/elements.js";
import { plural, short, whole } from "../../dom/format.js";
import { clock } from "../../dom/times.js";
import { get, page } from "../../shell/api.js";
import { choiceMenu } from "../../shell/menu.js";
import { change, go, here, withParameters } from "../../shell/router.js";
import { api, path, whyNot } from "../../shell/session.js";
import { empty, failure, loadingRows } from "../../shell/states.js";
import { changeIssues } from "./changes.js";
import { filterBar } from "./filter.js";
import { firstSteps } from "./first_steps.js";
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

export function open(place) {
  document.title = "Issues · axonpush";
  const node = h("div", { class: "view" });
  const chosen = new Map();
  let asked = read(place.query);
  let shown = { entries: [], cursor: {} };
  let at = -1;
  let last = null;
  let total = null;
  let reading = new AbortController();
  const table = h("div", { class: "card" });
  const summary = h("p", { class: "dim2", "aria-live": "polite" });
  const foot = h("div", { class: "row wrap foot" });
  let bar = null;

  const chart = () => (["24h", "1h"].includes(asked.statsPeriod) ? "24h" : asked.statsPeriod === "14d" ? "14d" : "30d");
  const rows = () => [...table.querySelectorAll("tbody tr")];
  const options = () => ({ chart: chart(), now: clock.now(), onSelect: select });

  function list(signal, isPoll = false) {
    const { query, statsPeriod, sort, cursor, project, environment } = asked;
    // A `*` alone stands for all issues, as an empty query in the address stands for the default.
    const words = query === "*" ? "" : query;
    const all = { statsPeriod, sort, cursor, project, environment, limit: PER_PAGE, groupStatsPeriod: chart() };
    return page(api("/issues/") + questionOf(all, words), null, { signal, isPoll });
  }

  // Of all pages; asked for when there are several, and once for a question.
  async function count() {
    const { query, statsPeriod, project, environment } = asked;
    const words = query === "*" ? "" : query;
    try {
      const found = await get(api("/issues-count/") + questionOf({ statsPeriod, project, environment }, words), null, { signal: reading.signal });
      total = Math.max(found[words] ?? 0, shown.entries.length);
      draw();
    } catch {
      // the list itself says what is wrong
    }
  }

  async function load() {
    total = null;
    reading.abort();
    reading = new AbortController();
    const { signal } = reading;
    const patience = setTimeout(() => (table.hasChildNodes() ? table.classList.add("stale") : replace(table, loadingRows(12))), 150);
    try {
      shown = await list(signal);
      draw();
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error.status === 400 && error.message.startsWith("query")) bar.fail(error.message);
      else replace(table, failure(error, load));
    } finally {
      clearTimeout(patience);
      table.classList.remove("stale");
    }
  }

  function head() {
    const sorted = (name) => asked.sort === name;
    const column = ([words, name]) =>
      h("th", { role: "columnheader", scope: "col", class: "num", "aria-sort": sorted(name) ? "descending" : null }, h("button", { type: "button", onclick: () => change({ sort: name === "date" ? "" : name }) }, words, sorted(name) && " ↓"));
    const all = h("input", { type: "checkbox", "aria-label": `Select all ${shown.entries.length} shown`, onclick: () => selectAll(all.checked) });
    all.checked = chosen.size > 0 && chosen.size === shown.entries.length;
    const plain = (words, kind) => h("th", { role: "columnheader", scope: "col", class: kind }, words);
    return h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, h("th", { role: "columnheader", scope: "col" }, all), plain("Issue"), plain("Summary", "phone"), plain(chart() === "24h" ? "24 hours" : chart() === "14d" ? "14 days" : "30 days"), COLUMNS.map(column)));
  }

  function draw() {
    const focused = document.activeElement?.closest?.("tr")?.dataset.id;
    const { entries, cursor } = shown;
    for (const id of chosen.keys()) if (!entries.some((issue) => issue.id === id)) chosen.delete(id);
    const isPart = Boolean(cursor.next || asked.cursor);
    const events = entries.reduce((sum, issue) => sum + Number(issue.count), 0);
    const number = isPart ? (total === null ? `${entries.length} shown` : `${whole(total)} issues`) : plural(entries.length, "issue");
    const shownEvents = isPart ? `; the ${entries.length} shown have ${short(events)} events` : `, with ${short(events)} events`;
    replace(summary, entries.length ? [number, h("span", { class: "wide" }, `${shownEvents} in the last ${words()}`)] : "");
    if (isPart && total === null) count();
    if (!entries.length) {
      replace(foot);
      replace(table, asked.cursor ? empty("No further issues.", button("First page", () => change({ cursor: "" }))) : nothing());
      return;
    }
    const body = h("tbody", { role: "rowgroup" }, entries.map((issue) => issueRow(issue, { ...options(), selected: chosen.has(issue.id) })));
    replace(table, bulk(), h("table", { class: "list issues", role: "table", "aria-label": "Issues" }, head(), body));
    const next = cursor.next && button("Next", () => change({ cursor: cursor.next }), { kind: "low" });
    const previous = asked.cursor && button("Previous", () => change({ cursor: cursor.previous || "" }), { kind: "low" });
    const begin = Number(asked.cursor.split(":")[1] ?? 0);
    const keys = ["Move ", kbd("j"), " ", kbd("k"), " open ", kbd("Enter"), " select ", kbd("x"), " resolve ", kbd("e"), " archive ", kbd("a")];
    replace(foot, h("p", { class: "small dim wide" }, keys), h("span", { class: "end row" }, h("span", { class: "small dim" }, `${whole(begin + 1)} to ${whole(begin + entries.length)}${isPart && total !== null ? ` of ${whole(total)}` : ""}`), previous, next));
    move(Math.min(at, entries.length - 1), false);
    if (focused) rows().find((row) => row.dataset.id === focused)?.querySelector("a")?.focus({ preventScroll: true });
  }

  const kbd = (key) => h("kbd", null, key);
  const words = () => PERIODS.find(([value]) => value === asked.statsPeriod)?.[1] ?? asked.statsPeriod;

  function nothing() {
    const isPlain = asked.query === DEFAULT_QUERY && !asked.project && !asked.environment.length;
    const box = h("div", null, empty(asked.query === DEFAULT_QUERY ? `No unresolved issues in the last ${words()}.` : `No issues of the last ${words()} match.`, asked.statsPeriod !== "14d" && button("Look at 14 days", () => change({ statsPeriod: "14d" })), asked.query !== "*" && button("Show all issues", () => change({ query: "*" }))));
    if (isPlain) firstSteps(box);
    return box;
  }

  function bulk() {
    if (!chosen.size) return null;
    const why = whyNot("event:write");
    const act = (label, status) => button(label, () => apply([...chosen.values()], status), { kind: "low", why });
    const change_ = [act("Resolve", "resolved"), act("Resolve in next release", "resolvedInNextRelease"), act("Archive", "ignored"), act("Open again", "unresolved")];
    return h("div", { class: "row wrap selected", role: "status" }, h("b", null, `${chosen.size} selected`), change_, button("Clear", () => (chosen.clear(), draw()), { kind: "low quiet" }));
  }

  function select(issue, event) {
    const entries = shown.entries;
    const isOn = !chosen.has(issue.id);
    const range = event?.shiftKey && last ? between(entries, last, issue) : [issue];
    for (const one of range) isOn ? chosen.set(one.id, one) : chosen.delete(one.id);
    last = issue;
    draw();
  }

  function selectAll(isOn) {
    chosen.clear();
    if (isOn) shown.entries.forEach((issue) => chosen.set(issue.id, issue));
    draw();
  }

  // Rows stay where they are, struck through, until the list is asked for again.
  function apply(issues, status) {
    const isGone = asked.query.includes(DEFAULT_QUERY);
    const draw_ = (issue, as) => {
      issue.status = as === "resolvedInNextRelease" ? "resolved" : as;
      const row = rows().find((one) => one.dataset.id === issue.id);
      row?.classList.toggle("gone", isGone && issue.status !== "unresolved");
    };
    chosen.clear();
    draw();
    changeIssues(issues, status, { shown: draw_ });
  }

  function move(to, focus = true) {
    at = to;
    rows().forEach((row, index) => row.classList.toggle("at", index === at));
    if (focus && rows()[at]) {
      rows()[at].querySelector("a").focus();
      rows()[at].scrollIntoView({ block: "nearest" });
    }
  }

  // What is new is told, not put into the list, where rows would move away from the pointer; known rows change their numbers in place.
  async function refresh() {
    if (document.hidden || !asked.isLive || asked.cursor || table.classList.contains("stale")) return;
    let fresh;
    try {
      fresh = await list(reading.signal, true);
    } catch {
      return;
    }
    const known = new Set(shown.entries.map((issue) => issue.id));
    const added = fresh.entries.filter((issue) => !known.has(issue.id));
    if (!shown.entries.length) {
      shown = fresh;
      if (fresh.entries.length) draw();
      return;
    }
    const byId = new Map(fresh.entries.map((issue) => [issue.id, issue]));
    for (const row of rows()) {
      const issue = byId.get(row.dataset.id);
      if (!issue || row.classList.contains("gone") || row.contains(document.activeElement)) continue;
      const made = issueRow(issue, { ...options(), selected: chosen.has(issue.id) });
      made.classList.toggle("at", row.classList.contains("at"));
      row.replaceWith(made);
    }
    shown.entries = shown.entries.map((issue) => byId.get(issue.id) ?? issue);
    table.querySelector(".fresh")?.remove();
    if (added.length) {
      table.prepend(h("button", { type: "button", class: "fresh", onclick: () => ((shown = fresh), draw()) }, added.length === 1 ? "1 new issue" : `${added.length} new issues`));
    }
  }

  function build() {
    const live = h("button", { type: "button", class: "btn", "aria-pressed": String(asked.isLive), onclick: toggleLive }, h("span", { class: asked.isLive ? "live" : null }, "Live"));
    bar = filterBar({
      query: asked.query,
      label: "Search issues",
      placeholder: "level:error or words of the title",
      periods: PERIODS,
      period: asked.statsPeriod,
      more: [choiceMenu("Order", SORTS, asked.sort, (value) => change({ sort: value === "date" ? "" : value })), live],
    });
    replace(node, h("div", { class: "row wrap lead" }, h("h1", null, "Issues"), summary), bar, bar.problem, table, foot);
  }

  function toggleLive() {
    go(withParameters({ live: asked.isLive ? "0" : "" }), { instead: true });
  }

  build();
  load();
  const timer = setInterval(refresh, EVERY_MS);
  const current = () => shown.entries[at];
  const many = () => (chosen.size ? [...chosen.values()] : current() ? [current()] : []);
  return {
    node,
    update(next) {
      asked = read(next.query);
      build();
      load();
    },
    close() {
      clearInterval(timer);
      reading.abort();
    },
    keys: {
      j: ["next row", () => move(Math.min(at + 1, shown.entries.length - 1))],
      k: ["row before", () => move(Math.max(at - 1, 0))],
      Enter: ["open the issue", () => (current() ? go(path(`/issues/${current().id}/`)) : false)],
      x: ["select the issue", () => current() && select(current())],
      e: ["resolve", () => !whyNot("event:write") && many().length && apply(many(), "resolved")],
      a: ["archive", () => !whyNot("event:write") && many().length && apply(many(), "ignored")],
      ".": ["live on or off", toggleLive],
      Escape: ["clear the selection", () => (chosen.size ? (chosen.clear(), draw()) : false)],
    },
  };
}

function questionOf(parameters, words) {
  const search = new URLSearchParams({ query: words });
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of Array.isArray(value) ? value : [value]) if (one !== "") search.append(name, one);
  }
  return `?${search}`;
}

function between(entries, one, other) {
  const [begin, end] = [entries.findIndex((issue) => issue.id === one.id), entries.findIndex((issue) => issue.id === other.id)].sort((a, b) => a - b);
  return begin < 0 ? [other] : entries.slice(begin, end + 1);
}
