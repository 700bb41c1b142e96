// A trace: where did the time go, where did it fail; or, of agents, who said what.
import { button, h, replace } from "../../dom/elements.js";
import { duration, whole } from "../../dom/format.js";
import { mark } from "../../dom/marks.js";
import { plain, text } from "../../dom/text.js";
import { exact } from "../../dom/times.js";
import { get } from "../../shell/api.js";
import { copyButton } from "../../shell/dialogs.js";
import { change, go } from "../../shell/router.js";
import { api, path } from "../../shell/session.js";
import { empty, failure, loadingRows } from "../../shell/states.js";
import { conversation } from "./conversation.js";
import { build, extent as extentOf } from "./tree.js";
import { Waterfall } from "./waterfall.js";

const MANY_LOGS = 50;
const MAX_LOGS = 1000;
const SERVICES = 6;
const ERRORS = 20;

function services(spans) {
  const all = [...new Set(spans.map((one) => one.service).filter(Boolean))];
  return all.slice(0, SERVICES).join(", ") + (all.length > SERVICES ? ` and ${all.length - SERVICES} more` : "");
}

function factsOf(told, extent, root) {
  const fact = (name, given) => h("div", null, h("dt", null, name), " ", h("dd", null, given));
  return h(
    "dl",
    { class: "facts" },
    fact("Took", duration(extent.length)),
    fact("Spans", whole(told.spans.length)),
    fact("Services", text(services(told.spans), 200)),
    fact("Errors", whole(told.errors.length)),
    fact("Logs", told.logs.length >= MAX_LOGS ? "1,000 or more" : whole(told.logs.length)),
    root && fact("Began", exact(new Date(extent.begin).toISOString())),
  );
}

// Between the waterfall and the conversation, where a model, a tool or an agent was called.
function switcher(isTalk) {
  const choices = [["", "Waterfall", !isTalk], ["ai", "Conversation", isTalk]];
  return h("span", { class: "row", role: "group", "aria-label": "Kind of view" }, choices.map(([view, words, isOn]) => h("button", { type: "button", class: "btn", "aria-pressed": String(isOn), onclick: () => change({ view }) }, words)));
}

function heading(traceId, told, tree, extent, isTalk) {
  const root = tree.roots[0];
  const isFailed = [...tree.nodes.values()].some((one) => one.failed) || told.errors.length > 0;
  const title = root ? root.name : "Trace";
  document.title = `${plain(title, 80)} · trace · axonpush`;
  const hasAi = told.spans.some((one) => one.work === "ai");
  const link = copyButton("Copy link", () => location.href, { kind: "" });
  return [
    h("nav", { class: "small dim path", "aria-label": "Breadcrumb" }, h("a", { href: path("/traces/", { tab: isTalk ? "ai" : "" }) }, "Traces"), " / ", h("span", { "aria-current": "page", class: "mono" }, `${traceId.slice(0, 8)}…${traceId.slice(-6)}`)),
    h("div", { class: "row wrap" }, h("h1", null, isFailed && mark("error", "failed"), text(title, 200)), isFailed && h("span", { class: "badge error" }, "failed"), h("span", { class: "end row" }, (hasAi || isTalk) && switcher(isTalk), link)),
    !isTalk && factsOf(told, extent, root),
  ];
}

function withoutSpans(told) {
  const errors = told.errors.slice(0, ERRORS).map((error) => h("p", null, h("a", { href: path(`/issues/${error.issue_id}/events/${error.event_id}/`) }, text(error.title, 200))));
  return h("div", { class: "card" }, empty(`No spans of this trace are here. It has ${whole(told.errors.length)} errors and ${whole(told.logs.length)} logs.`), h("div", { class: "sheet" }, errors));
}

function filterForm(query, withLogs) {
  const input = h("input", { "aria-label": "Find spans", placeholder: "Find a span by name or service", value: query.get("find") ?? "", spellcheck: "false" });
  const isFailedOnly = query.get("failed") === "1";
  const form = h(
    "form",
    { class: "filter", role: "search" },
    h("div", { class: "query" }, input, h("kbd", { class: "wide", "aria-hidden": "true" }, "/")),
    button("Logs in place", () => change({ logs: withLogs ? "0" : "1" }, { instead: true }), { "aria-pressed": String(withLogs) }),
    button("Failed path only", () => change({ failed: isFailedOnly ? "" : "1" }, { instead: true }), { "aria-pressed": String(isFailedOnly) }),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    change({ find: input.value.trim() }, { instead: true });
  });
  return form;
}

async function read(traceId, signal) {
  const [bars, logs] = await Promise.all([
    get(api(`/trace-bars/${encodeURIComponent(traceId)}/`), null, { signal }),
    get(api("/trace-logs/"), { traceId, per_page: MAX_LOGS, sort: "timestamp" }, { signal }).catch(() => ({ data: [] })),
  ]);
  return { ...bars, logs: logs.data };
}

function keysOf(aside, fall) {
  return {
    n: ["next failed span", () => fall()?.nextFailed()],
    j: ["next row", () => fall()?.step(1)],
    k: ["row before", () => fall()?.step(-1)],
    Escape: ["close the span, then the trace", () => (aside.hasChildNodes() ? replace(aside) : go(path("/traces/")))],
  };
}

export function open(place) {
  const traceId = place.parts[3];
  const node = h("div", { class: "view" });
  const aside = h("aside", { "aria-label": "Selected span" });
  const { signal, abort } = controller();
  const opened = new Set(); // groups
  let query = place.query;
  let told = null;
  let tree = null;
  let fall = null;

  async function load() {
    setTimeout(() => node.hasChildNodes() || replace(node, loadingRows(18, 26)), 150);
    try {
      told = await read(traceId, signal);
      tree = build(told);
      draw();
    } catch (error) {
      if (error.name === "AbortError") return;
      document.title = "Trace · axonpush";
      replace(node, h("h1", null, "This trace cannot be shown"), h("div", { class: "card" }, failure(error, load)));
    }
  }

  function draw() {
    const extent = extentOf(tree);
    const isTalk = query.get("view") === "ai";
    const head = heading(traceId, told, tree, extent, isTalk);
    fall = null;
    if (isTalk) return drawTalk(head);
    if (!told.spans.length) return replace(node, head, withoutSpans(told));
    const withLogs = query.get("logs") ? query.get("logs") === "1" : told.logs.length <= MANY_LOGS;
    fall = new Waterfall({ tree, extent, traceId, aside, signal, opened });
    const cut = told.isCut && h("p", { class: "note-line" }, "Showing the first 10,000 spans.");
    const grid = h("div", { class: "tracecols" }, h("div", { class: "fallbox" }, fall.element(), cut), aside);
    replace(node, head, filterForm(query, withLogs), h("div", { class: "card" }, grid));
    fall.list(withLogs);
    return fall.chooseFirst();
  }

  function drawTalk(head) {
    const box = h("div");
    replace(node, head, box);
    return conversation(box, traceId, signal);
  }

  const scrolled = () => fall?.scrolled();
  addEventListener("scroll", scrolled, { passive: true });
  addEventListener("resize", scrolled);
  load();
  return {
    node,
    update(next) {
      query = next.query;
      if (tree) draw();
    },
    close() {
      abort();
      removeEventListener("scroll", scrolled);
      removeEventListener("resize", scrolled);
    },
    keys: keysOf(aside, () => fall),
  };
}

function controller() {
  const made = new AbortController();
  return { signal: made.signal, abort: () => made.abort() };
}
