// The chosen span: what it took, what failed, its attributes.
import { button, h, replace } from "../../dom/elements.js";
import { duration, percent } from "../../dom/format.js";
import { text, value } from "../../dom/text.js";
import { get } from "../../shell/api.js";
import { path, projectApi } from "../../shell/session.js";
import { ownTime } from "./tree.js";

const FACTS = new Set(["trace_id", "parent_span_id", "service_name", "name", "body", "id", "span_id", "parent_span", "trace", "timestamp", "project.id", "project"]);
const MAX_ATTRIBUTES = 200;
const FIRST_ERRORS = 3;

function list(pairs) {
  return h("dl", { class: "kv" }, pairs.filter(([, given]) => given !== "" && given !== null && given !== undefined).map(([name, given]) => [h("dt", null, text(name, 200)), value(given)]));
}

function errorPart(note) {
  const { error } = note;
  return [h("div", { class: "head" }, h("h2", null, "Error"), h("a", { class: "end small", href: path(`/issues/${error.issue_id}/events/${error.event_id}/`) }, "Open")), h("p", { class: "kv mono" }, text(error.title, 1000))];
}

function logPart(note) {
  return [h("div", { class: "head" }, h("h2", null, "Log")), h("p", { class: "sheet mono" }, text(note.words, 4000))];
}

export function panel(box, row, { extent, traceId, close, signal }) {
  const { node } = row;
  const head = (title) => h("div", { class: "head" }, h("h2", { class: "clip" }, text(title, 200)), button("Close", close, { kind: "low quiet end", "aria-label": "Close span, key Escape" }));
  if (node.kind === "error" || node.kind === "log") {
    replace(box, head(node.words), node.kind === "error" ? errorPart(node) : logPart(node));
    return;
  }
  const share = node.duration / extent.length;
  const facts = [
    ["took", `${duration(node.duration)} (${percent(share, 0)} of the trace)`],
    ["own time", node.kind === "span" ? duration(ownTime(node)) : ""],
    ["began", `at ${duration(node.start - extent.begin)}`],
    ["spans", node.kind === "group" ? `${node.count} like this one, ${duration(node.sum)} in all` : ""],
    ["service", node.service],
    ["project", node.project],
  ];
  const attributes = h("div");
  const errors = node.notes.filter((note) => note.kind === "error");
  replace(box, head(node.name), list(facts), errors.slice(0, FIRST_ERRORS).map(errorPart), errors.length > FIRST_ERRORS && h("p", { class: "note-line" }, `and ${errors.length - FIRST_ERRORS} more below the span`), attributes);
  if (node.kind !== "span") return;
  get(projectApi(node.project, `/trace-items/${encodeURIComponent(node.id)}/`), { trace_id: traceId }, { signal })
    .then((item) => {
      const all = (item.attributes ?? []).filter(({ name }) => !FACTS.has(name)).map(({ name, value: given }) => [name, given]);
      const shown = all.filter(([, given]) => given !== "" && given !== null);
      replace(attributes, h("div", { class: "head" }, h("h2", null, "Attributes"), h("span", { class: "end small dim" }, shown.length)), list(shown.slice(0, MAX_ATTRIBUTES)));
    })
    .catch((error) => error.name !== "AbortError" && replace(attributes, h("p", { class: "sheet small dim2" }, text(error.message))));
}
