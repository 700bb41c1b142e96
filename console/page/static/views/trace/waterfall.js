// The rows of a trace, one of them chosen. Only those in sight are in the document.
import { h, replace, svg } from "../../dom/elements.js";
import { duration } from "../../dom/format.js";
import { withParameters } from "../../shell/router.js";
import { panel } from "./panel.js";
import { legend, rowElement, SHARE } from "./rows.js";
import { failedPath, rows as rowsOf, ticks } from "./tree.js";

const BEYOND = 20;
const MAX_CLOSED = 50;

const parameters = () => new URLSearchParams(location.search);
const closedSpans = () => new Set((parameters().get("closed") ?? "").split(",").filter(Boolean));

// Spans whose name or service has these words, and all above them.
function matching(tree, words) {
  const keep = new Set();
  for (const one of tree.nodes.values()) {
    if (!`${one.name} ${one.service}`.toLowerCase().includes(words)) continue;
    for (let up = one; up && !keep.has(up.id); up = tree.nodes.get(up.parent)) keep.add(up.id);
  }
  return keep;
}

function gap(count, height) {
  return count > 0 && h("tr", { class: "gap", "aria-hidden": "true" }, h("td", { colspan: 2 }, svg("svg", { width: 1, height: count * height, class: "block" })));
}

export class Waterfall {
  constructor({ tree, extent, traceId, aside, signal, opened }) {
    Object.assign(this, { tree, extent, traceId, aside, signal, opened });
    this.shown = [];
    this.at = -1;
    this.painted = [0, 0];
    this.body = h("tbody", { role: "rowgroup" });
    this.body.addEventListener("click", (event) => this.clicked(event));
    this.body.addEventListener("keydown", (event) => this.moved(event));
  }

  element() {
    const marks = ticks(this.extent.length);
    const x = (ms, more = 0) => `${((ms / this.extent.length) * SHARE + more).toFixed(2)}%`;
    const axis = svg("svg", { class: "axis", "aria-hidden": "true" }, marks.map((ms) => svg("text", { x: x(ms, 0.6), y: 18 }, ms ? duration(ms) : "0")));
    const lines = svg("svg", { class: "grid wide", "aria-hidden": "true" }, marks.map((ms) => svg("line", { x1: x(ms), x2: x(ms), y1: 0, y2: "100%" })));
    const head = h("thead", { role: "rowgroup", class: "wide" }, h("tr", { role: "row" }, h("th", { role: "columnheader", class: "n" }, h("div", { class: "span" }, h("span", { class: "small dim" }, "Span and service"))), h("th", { role: "columnheader" }, h("span", { class: "hide" }, "Time"), axis)));
    this.table = h("table", { class: "fall", role: "treegrid", "aria-label": "Spans of the trace" }, head, this.body);
    return [lines, this.table, legend()];
  }

  // What the address asks for: words, the failed path, closed spans.
  list(withLogs) {
    this.withLogs = withLogs;
    const words = (parameters().get("find") ?? "").toLowerCase();
    const keep = words ? matching(this.tree, words) : parameters().get("failed") === "1" ? failedPath(this.tree) : null;
    const before = this.shown[this.at]?.node;
    this.shown = rowsOf(this.tree, { closed: closedSpans(), opened: this.opened, withLogs, keep });
    this.table.setAttribute("aria-rowcount", this.shown.length);
    this.at = Math.max(0, this.shown.findIndex((row) => row.node === before || row.node.id === before?.id));
    this.paint();
  }

  // The span of the address, else the one that failed last, else the root.
  chooseFirst() {
    const wanted = parameters().get("span");
    const byId = this.shown.findIndex((row) => row.node.id === wanted);
    const failed = this.shown.findLastIndex((row) => row.node.failed && row.node.kind === "span");
    this.choose(byId >= 0 ? byId : Math.max(0, failed), { quiet: true });
  }

  rowHeight() {
    return matchMedia("(max-width: 900px)").matches ? 45 : 26;
  }

  sight() {
    const height = this.rowHeight();
    const top = this.body.getBoundingClientRect().top;
    return [Math.max(0, Math.floor(-top / height) - BEYOND), Math.min(this.shown.length, Math.ceil((innerHeight - top) / height) + BEYOND)];
  }

  paint() {
    const [begin, end] = this.sight();
    const height = this.rowHeight();
    const hadFocus = this.body.contains(document.activeElement);
    const made = this.shown.slice(begin, end).map((row, index) => rowElement(row, { extent: this.extent, isAt: begin + index === this.at, index: begin + index }));
    replace(this.body, gap(begin, height), made, gap(this.shown.length - end, height));
    if (hadFocus) this.body.querySelector("tr[tabindex='0']")?.focus({ preventScroll: true });
    this.painted = [begin, end];
  }

  scrolled() {
    if (!this.shown.length || !this.body.isConnected) return;
    const [begin, end] = this.sight();
    const [was, wasEnd] = this.painted;
    if (Math.abs(begin - was) > BEYOND / 2 || Math.abs(end - wasEnd) > BEYOND / 2) this.paint();
  }

  rowAt(index) {
    return this.body.querySelector(`tr[data-index="${index}"]`);
  }

  choose(index, { quiet = false, focus = false } = {}) {
    if (!this.shown[index]) return;
    this.at = index;
    this.paint();
    if (focus && !this.rowAt(index)) {
      scrollTo({ top: scrollY + this.body.getBoundingClientRect().top + index * this.rowHeight() - innerHeight / 2 });
      this.paint();
    }
    const made = this.rowAt(index);
    if (focus) made?.focus({ preventScroll: true });
    if (focus || quiet) made?.scrollIntoView({ block: "nearest" });
    const { aside, extent, traceId, signal } = this;
    panel(aside, this.shown[index], { extent, traceId, close: () => replace(aside), signal });
    const { id, kind } = this.shown[index].node;
    if (!quiet && id && kind === "span") history.replaceState(null, "", withParameters({ span: id }));
  }

  toggle(row, isOpen) {
    if (row.isOpen === null || row.isOpen === undefined || row.isOpen === isOpen) return;
    if (row.node.kind === "group") isOpen ? this.opened.add(row.node.id) : this.opened.delete(row.node.id);
    else {
      const all = closedSpans();
      isOpen ? all.delete(row.node.id) : all.add(row.node.id);
      history.replaceState(null, "", withParameters({ closed: [...all].slice(-MAX_CLOSED).join(",") }));
    }
    this.list(this.withLogs);
  }

  clicked(event) {
    const element = event.target.closest("tr[data-index]");
    if (!element) return;
    const index = Number(element.dataset.index);
    this.choose(index);
    const row = this.shown[index];
    if (event.target.closest("[data-toggle]") || row.node.kind === "group") this.toggle(row, !row.isOpen);
    this.rowAt(this.at)?.focus({ preventScroll: true });
  }

  step(by) {
    this.choose(Math.min(Math.max(this.at + by, 0), this.shown.length - 1), { focus: true });
  }

  moved(event) {
    const row = this.shown[this.at];
    const parent = () => this.shown.findLastIndex((one, index) => index < this.at && one.level < row.level);
    const moves = {
      ArrowDown: () => this.step(1),
      ArrowUp: () => this.step(-1),
      Home: () => this.choose(0, { focus: true }),
      End: () => this.choose(this.shown.length - 1, { focus: true }),
      ArrowRight: () => (row.isOpen === false ? this.toggle(row, true) : this.choose(this.at + 1, { focus: true })),
      ArrowLeft: () => (row.isOpen ? this.toggle(row, false) : this.choose(parent(), { focus: true })),
      Enter: () => this.aside.querySelector("button, a")?.focus(),
    };
    if (!row || !moves[event.key]) return;
    event.preventDefault();
    moves[event.key]();
  }

  nextFailed() {
    const isFailed = (row) => row.node.failed || row.node.kind === "error";
    const index = this.shown.findIndex((row, position) => position > this.at && isFailed(row));
    this.choose(index < 0 ? this.shown.findIndex(isFailed) : index, { focus: true });
  }
}
