// Lines of logs: one row each, opened in place to everything that is known of it.
import { button, h, replace } from "../../dom/elements.js";
import { mark } from "../../dom/marks.js";
import { asText, text, value } from "../../dom/text.js";
import { exact } from "../../dom/times.js";
import { get } from "../../shell/api.js";
import { copyButton } from "../../shell/dialogs.js";
import { path, projectApi } from "../../shell/session.js";

const QUOTED = /[\s"()[\]*]/;

// A term of the search language for this value.
export function term(name, given, { not = false } = {}) {
  const words = QUOTED.test(given) ? `"${given.replace(/["\\]/g, "\\$&")}"` : given;
  return `${not ? "!" : ""}${name}:${words}`;
}

export function lineElement(line, { filter }) {
  const level = line.severity || "info";
  const row = h(
    "button",
    { type: "button", class: "line", "aria-expanded": "false" },
    h("time", { class: "dim", datetime: line.timestamp, title: exact(line.timestamp) }, exact(line.timestamp, { day: false })),
    mark(level),
    h("span", { class: "dim2 clip" }, text(line["service.name"] || line.project, 60)),
    h("span", { class: "clip body" }, text(line.message, 1000)),
    line.trace ? h("a", { class: "small", href: path(`/traces/${line.trace}/`, { span: line.span_id }), onclick: (event) => event.stopPropagation() }, "trace") : h("span"),
  );
  // A link must not be inside a button: the line is a row with two parts.
  const link = row.lastChild;
  const box = h("li", { "data-id": line.id }, h("div", { class: "line-row" }, row, link));
  const detail = h("div", { class: "opened" });
  row.addEventListener("click", () => {
    const isOpen = row.getAttribute("aria-expanded") === "true";
    row.setAttribute("aria-expanded", String(!isOpen));
    if (isOpen) return detail.remove();
    box.append(detail);
    if (!detail.hasChildNodes()) fill(detail, line, filter);
  });
  return box;
}

async function fill(detail, line, filter) {
  replace(detail, h("p", { class: "sheet mono every" }, text(line.message, 20000)));
  try {
    const item = await get(projectApi(line.project, `/trace-items/${encodeURIComponent(line.id)}/`));
    const pairs = item.attributes.filter(({ name, value: given }) => given && name !== "body").slice(0, 200);
    detail.append(h("dl", { class: "kv" }, pairs.map(({ name, value: given }) => pair(name, given, filter))));
  } catch (error) {
    detail.append(h("p", { class: "small dim2 sheet" }, text(error.message)));
  }
}

function pair(name, given, filter) {
  const shown = value(given);
  const isShort = asText(given).length < 200;
  const known = name.replace(/^resource\./, "");
  const acts = h("span", { class: "row acts-small" }, isShort && button("= filter", () => filter(term(known, given)), { kind: "low quiet" }), isShort && button("≠ not", () => filter(term(known, given, { not: true })), { kind: "low quiet" }), copyButton("Copy", asText(given), { kind: "low quiet" }));
  shown.append(acts);
  return [h("dt", null, text(name, 200)), shown];
}
