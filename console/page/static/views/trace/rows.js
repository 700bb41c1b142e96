// One row of the waterfall: the name at its depth, the bar at its time. Geometry is attributes of SVG, never a style.
import { h, svg } from "../../dom/elements.js";
import { duration } from "../../dom/format.js";
import { mark } from "../../dom/marks.js";
import { text } from "../../dom/text.js";

// The bars take this part of the width; the rest is for the time beside the last one.
export const SHARE = 86;
const DEEPEST = 12;
const CLASS = { in: "server", out: "client", db: "db", msg: "queue", ai: "ai", fn: "internal" };
const WORK = { in: "request served", out: "call made", db: "database", msg: "message", ai: "model", fn: "own code" };

const percent = (number) => `${Math.min(100, Math.max(0, number)).toFixed(3)}%`;

function bar(node, { begin, length }) {
  const x = ((node.start - begin) / length) * SHARE;
  const width = (node.duration / length) * SHARE;
  const after = Math.min(99, x + width) + 0.7;
  const took = duration(node.kind === "group" ? node.sum : node.duration);
  const isDashed = node.kind === "missing";
  const shape = { x: percent(x), y: 7, height: 12, rx: 2, width: percent(Math.max(width, 0.25)), class: `k-${CLASS[node.work] ?? "internal"}`, "stroke-dasharray": isDashed ? "3 3" : null };
  return svg(
    "svg",
    { class: "bar", role: "img", "aria-label": `${took}, from ${duration(node.start - begin)}` },
    svg("rect", shape),
    node.failed && svg("rect", { class: "fail", x: percent(x), y: 6, height: 14, rx: 2, width: percent(Math.max(width, 0.25)) }),
    after > 92 ? svg("text", { x: percent(x - 0.7), y: 17, "text-anchor": "end" }, took) : svg("text", { x: percent(after), y: 17 }, took),
  );
}

function noteBar(node, { begin, length }, sign) {
  const x = ((node.at - begin) / length) * SHARE;
  const use = svg("use", { href: `#m-${sign}`, width: 12, height: 12 });
  return svg("svg", { class: "bar", "aria-hidden": "true" }, svg("svg", { x: percent(x), y: 7, width: 12, height: 12, overflow: "visible", class: `m-${sign}`, fill: "currentColor" }, use));
}

function cells(first, second) {
  return [h("td", { role: "gridcell", class: "n" }, first), h("td", { role: "gridcell" }, second)];
}

function indent(level) {
  return svg("svg", { class: "indent", width: Math.min(level - 1, DEEPEST) * 14, height: 1, "aria-hidden": "true" });
}

export function rowElement(row, { extent, isAt, index }) {
  const { node, level } = row;
  const attributes = { role: "row", "aria-level": level, "aria-posinset": row.position, "aria-setsize": row.siblings, "aria-rowindex": index + 1, "aria-selected": String(isAt), tabindex: isAt ? "0" : "-1", "data-index": index };
  if (node.kind === "error" || node.kind === "log") {
    const sign = node.level === "warning" ? "warn" : ["fatal", "error", "info"].includes(node.level) ? node.level : "debug";
    const name = h("div", { class: "span" }, indent(level), h("span", { class: "twig" }), mark(node.level), h("span", { class: "clip" }, text(node.words, 300)));
    return h("tr", { ...attributes, class: `note${isAt ? " at" : ""}` }, cells(name, noteBar(node, extent, sign)));
  }
  const deep = level - 1 > DEEPEST && h("span", { class: "dim small" }, level);
  const twig = h("span", { class: "twig", "aria-hidden": "true", "data-toggle": row.isOpen === null ? null : "1" }, row.isOpen === null ? "" : row.isOpen ? "▾" : "▸");
  const kind = node.kind !== "missing" && h("span", { class: `kind k-${CLASS[node.work] ?? "internal"}`, title: WORK[node.work] }, node.work);
  const name = h(
    "div",
    { class: "span" },
    indent(level),
    twig,
    deep,
    kind,
    h("span", { class: node.kind === "missing" ? "clip dim" : "clip" }, text(node.name, 300), node.kind === "group" && ` × ${node.count}`),
    node.failed && mark("error", "failed"),
    h("span", { class: "svc" }, text(node.service, 60), h("span", { class: "phone" }, ` ${duration(node.duration)}`)),
  );
  const expanded = row.isOpen === null ? null : String(row.isOpen);
  return h("tr", { ...attributes, "aria-expanded": expanded, class: isAt ? "at" : null }, cells(name, bar(node, extent)));
}

export function legend() {
  return h("p", { class: "legend small dim2" }, Object.entries(CLASS).map(([work, name]) => h("span", { class: `kind k-${name}` }, work)), h("span", { class: "wide" }, "request served, call made, database, message, model, own code. Framed: it failed."));
}
