// A trace: where did the time go, where did it fail. Only the rows in sight are in the document.
import { button, h, replace, svg } from "../../dom/elements.js";
import { duration, whole } from "../../dom/format.js";
import { mark } from "../../dom/marks.js";
import { plain, text } from "../../dom/text.js";
import { exact } from "../../dom/times.js";
import { get } from "../../shell/api.js";
import { copyButton } from "../../shell/dialogs.js";
import { change, go, withParameters } from "../../shell/router.js";
import { api, path } from "../../shell/session.js";
import { empty, failure, loadingRows } from "../../shell/states.js";
import { panel } from "./panel.js";
import { legend, rowElement, SHARE } from "./rows.js";
import { build, extent as extentOf, failedPath, rows as rowsOf, ticks } from "./tree.js";

const BEYOND = 20;
const MANY_LOGS = 50;
const MAX_CLOSED = 50;

export function open(place) {
  const traceId = place.parts[3];
  const node = h("div", { class: "view" });
  const asking = new AbortController();
  const opened = new Set();
  let query = place.query;
  let told = null;
  let tree = null;
  let extent = null;
  let shown = [];
  let at = -1;
  const body = h("tbody", { role: "rowgroup" });
  const aside = h("aside", { "aria-label": "Selected span" });
  const grid = h("div", { class: "card" });

  async function load() {
    setTimeout(() => node.hasChildNodes() || replace(node, loadingRows(18, 26)), 150);
    const signal = { signal: asking.signal };
    try {
      const [bars, logs] = await Promise.all([
        get(api(`/trace-bars/${encodeURIComponent(traceId)}/`), null, signal),
        get(api("/trace-logs/"), { traceId, per_page: 1000, sort: "timestamp" }, signal).catch(() => ({ data: [] })),
      ]);
      told = { ...bars, logs: logs.data };
      tree = build(told);
      extent = extentOf(tree);
      draw();
    } catch (error) {
      if (error.name === "AbortError") return;
      document.title = "Trace · axonpush";
      replace(node, h("h1", null, "This trace cannot be shown"), h("div", { class: "card" }, failure(error, load)));
    }
  }

  function draw() {
    const root = tree.roots[0];
    const isFailed = [...tree.nodes.values()].some((one) => one.failed) || told.errors.length > 0;
    const title = root ? root.name : "Trace";
    document.title = `${plain(title, 80)} · trace · axonpush`;
    const services = [...new Set(told.spans.map((one) => one.service).filter(Boolean))];
    const fact = (name, given) => h("div", null, h("dt", null, name), " ", h("dd", null, given));
    const head = [
      h("nav", { class: "small dim path", "aria-label": "Breadcrumb" }, h("a", { href: path("/traces/") }, "Traces"), " / ", h("span", { "aria-current": "page", class: "mono" }, `${traceId.slice(0, 8)}…${traceId.slice(-6)}`)),
      h("div", { class: "row wrap" }, h("h1", null, isFailed && mark("error", "failed"), text(title, 200)), isFailed && h("span", { class: "badge error" }, "failed"), h("span", { class: "end row" }, copyButton("Copy link", () => location.href, { kind: "" }))),
      h("dl", { class: "facts" }, fact("Took", duration(extent.length)), fact("Spans", whole(told.spans.length)), fact("Services", text(services.slice(0, 6).join(", ") + (services.length > 6 ? ` and ${services.length - 6} more` : ""), 200)), fact("Errors", whole(told.errors.length)), fact("Logs", told.logs.length >= 1000 ? "1,000 or more" : whole(told.logs.length)), root && fact("Began", exact(new Date(extent.begin).toISOString()))),
    ];
    if (!told.spans.length) {
      const errors = told.errors.slice(0, 20).map((error) => h("p", null, h("a", { href: path(`/issues/${error.issue_id}/events/${error.event_id}/`) }, text(error.title, 200))));
      replace(node, head, h("div", { class: "card" }, empty(`No spans of this trace are here. It has ${whole(told.errors.length)} errors and ${whole(told.logs.length)} logs.`), h("div", { class: "sheet" }, errors)));
      return;
    }
    const input = h("input", { "aria-label": "Find spans", placeholder: "Find a span by name or service", value: query.get("find") ?? "", spellcheck: "false" });
    const form = h(
      "form",
      { class: "filter", role: "search" },
      h("div", { class: "query" }, input, h("kbd", { class: "wide", "aria-hidden": "true" }, "/")),
      button("Logs in place", () => change({ logs: withLogs() ? "0" : "1" }, { instead: true }), { "aria-pressed": String(withLogs()) }),
      button("Failed path only", () => change({ failed: query.get("failed") === "1" ? "" : "1" }, { instead: true }), { "aria-pressed": String(query.get("failed") === "1") }),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      change({ find: input.value.trim() }, { instead: true });
    });
    const marks = ticks(extent.length);
    const x = (ms, more = 0) => `${((ms / extent.length) * SHARE + more).toFixed(2)}%`;
    const axis = svg("svg", { class: "axis", "aria-hidden": "true" }, marks.map((ms) => svg("text", { x: x(ms, 0.6), y: 18 }, ms ? duration(ms) : "0")));
    const lines = svg("svg", { class: "grid wide", "aria-hidden": "true" }, marks.map((ms) => svg("line", { x1: x(ms), x2: x(ms), y1: 0, y2: "100%" })));
    const table = h(
      "table",
      { class: "fall", role: "treegrid", "aria-label": "Spans of the trace" },
      h("thead", { role: "rowgroup", class: "wide" }, h("tr", { role: "row" }, h("th", { role: "columnheader", class: "n" }, h("div", { class: "span" }, h("span", { class: "small dim" }, "Span and service"))), h("th", { role: "columnheader" }, h("span", { class: "hide" }, "Time"), axis))),
      body,
    );
    const cut = told.isCut && h("p", { class: "note-line" }, "Showing the first 10,000 spans.");
    replace(grid, h("div", { class: "tracecols" }, h("div", { class: "fallbox" }, lines, table, cut, legend()), aside));
    replace(node, head, form, grid);
    list();
    choose(first(), { quiet: true });
  }

  function withLogs() {
    const given = query.get("logs");
    return given ? given === "1" : told.logs.length <= MANY_LOGS;
  }

  function closed() {
    return new Set((query.get("closed") ?? "").split(",").filter(Boolean));
  }

  function list() {
    const find = (query.get("find") ?? "").toLowerCase();
    let keep = query.get("failed") === "1" ? failedPath(tree) : null;
    if (find) keep = matching(find);
    const isAt = shown[at]?.node;
    shown = rowsOf(tree, { closed: closed(), opened, withLogs: withLogs(), keep });
    node.querySelector("table")?.setAttribute("aria-rowcount", shown.length);
    at = Math.max(0, shown.findIndex((row) => row.node === isAt || row.node.id === isAt?.id));
    paint();
  }

  function matching(find) {
    const keep = new Set();
    for (const one of tree.nodes.values()) {
      if (!`${one.name} ${one.service}`.toLowerCase().includes(find)) continue;
      for (let up = one; up && !keep.has(up.id); up = tree.nodes.get(up.parent)) keep.add(up.id);
    }
    return keep;
  }

  // The span of the address, else the first that failed, else the root.
  function first() {
    const wanted = query.get("span");
    const byId = shown.findIndex((row) => row.node.id === wanted);
    const failed = shown.findLastIndex((row) => row.node.failed && row.node.kind === "span");
    return byId >= 0 ? byId : Math.max(0, failed);
  }

  const rowHeight = () => (matchMedia("(max-width: 900px)").matches ? 45 : 26);

  function paint() {
    const height = rowHeight();
    const top = body.getBoundingClientRect().top;
    const begin = Math.max(0, Math.floor(-top / height) - BEYOND);
    const end = Math.min(shown.length, Math.ceil((innerHeight - top) / height) + BEYOND);
    const gap = (count) => count > 0 && h("tr", { class: "gap", "aria-hidden": "true" }, h("td", { colspan: 2 }, svg("svg", { width: 1, height: count * height, class: "block" })));
    const hadFocus = body.contains(document.activeElement);
    const made = shown.slice(begin, end).map((row, index) => rowElement(row, { extent, isAt: begin + index === at, index: begin + index }));
    replace(body, gap(begin), made, gap(shown.length - end));
    if (hadFocus) body.querySelector("tr[tabindex='0']")?.focus({ preventScroll: true });
    painted = `${begin}-${end}`;
  }
  let painted = "";

  function onScroll() {
    if (!shown.length) return;
    const height = rowHeight();
    const top = body.getBoundingClientRect().top;
    const begin = Math.max(0, Math.floor(-top / height) - BEYOND);
    const end = Math.min(shown.length, Math.ceil((innerHeight - top) / height) + BEYOND);
    const [was, wasEnd] = painted.split("-").map(Number);
    if (Math.abs(begin - was) > BEYOND / 2 || Math.abs(end - wasEnd) > BEYOND / 2) paint();
  }

  function choose(index, { quiet = false, focus = false } = {}) {
    if (!shown[index]) return;
    at = index;
    paint();
    const row = body.querySelector(`tr[data-index="${at}"]`);
    if (focus && !row) {
      scrollTo({ top: scrollY + body.getBoundingClientRect().top + at * rowHeight() - innerHeight / 2 });
      paint();
    }
    const made = body.querySelector(`tr[data-index="${at}"]`);
    if (focus) made?.focus({ preventScroll: true });
    if (focus || quiet) made?.scrollIntoView({ block: "nearest" });
    panel(aside, shown[at], { extent, traceId, close: () => replace(aside), signal: asking.signal });
    const id = shown[at].node.id;
    if (!quiet && id && shown[at].node.kind === "span") history.replaceState(null, "", withParameters({ span: id }));
    query = new URLSearchParams(location.search);
  }

  function toggle(row, isOpen) {
    if (row.isOpen === null || row.isOpen === undefined || row.isOpen === isOpen) return;
    if (row.node.kind === "group") isOpen ? opened.add(row.node.id) : opened.delete(row.node.id);
    else {
      const all = closed();
      isOpen ? all.delete(row.node.id) : all.add(row.node.id);
      history.replaceState(null, "", withParameters({ closed: [...all].slice(-MAX_CLOSED).join(",") }));
      query = new URLSearchParams(location.search);
    }
    list();
  }

  const parentIndex = () => shown.findLastIndex((row, index) => index < at && row.level < shown[at].level);

  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr[data-index]");
    if (!row) return;
    const index = Number(row.dataset.index);
    choose(index);
    if (event.target.closest("[data-toggle]") || shown[index].node.kind === "group") toggle(shown[index], !shown[index].isOpen);
    body.querySelector(`tr[data-index="${at}"]`)?.focus({ preventScroll: true });
  });
  body.addEventListener("keydown", (event) => {
    const row = shown[at];
    const moves = {
      ArrowDown: () => choose(Math.min(at + 1, shown.length - 1), { focus: true }),
      ArrowUp: () => choose(Math.max(at - 1, 0), { focus: true }),
      Home: () => choose(0, { focus: true }),
      End: () => choose(shown.length - 1, { focus: true }),
      ArrowRight: () => (row.isOpen === false ? toggle(row, true) : choose(at + 1, { focus: true })),
      ArrowLeft: () => (row.isOpen ? toggle(row, false) : choose(parentIndex(), { focus: true })),
      Enter: () => aside.querySelector("button, a")?.focus(),
    };
    if (!row || !moves[event.key]) return;
    event.preventDefault();
    moves[event.key]();
  });
  addEventListener("scroll", onScroll, { passive: true });
  addEventListener("resize", onScroll);
  load();
  const nextFailed = () => {
    const index = shown.findIndex((row, position) => position > at && (row.node.failed || row.node.kind === "error"));
    choose(index < 0 ? shown.findIndex((row) => row.node.failed || row.node.kind === "error") : index, { focus: true });
  };
  return {
    node,
    update(next) {
      query = next.query;
      if (tree) draw();
    },
    close() {
      asking.abort();
      removeEventListener("scroll", onScroll);
      removeEventListener("resize", onScroll);
    },
    keys: {
      n: ["next failed span", nextFailed],
      j: ["next row", () => choose(Math.min(at + 1, shown.length - 1), { focus: true })],
      k: ["row before", () => choose(Math.max(at - 1, 0), { focus: true })],
      Escape: ["close the span, then the trace", () => (aside.hasChildNodes() ? replace(aside) : go(path("/traces/")))],
    },
  };
}
