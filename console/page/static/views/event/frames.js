// Stack traces: the frame that raised first, runs of library frames as one line, source made when a frame is opened.
import { h, replace } from "../../dom/elements.js";
import { plural } from "../../dom/format.js";
import { asText, text, value } from "../../dom/text.js";

const SHOWN_LINES = 6;
const FIRST_OF_LIBRARY = 3;
const MAX_VARIABLES = 100;

export function placeOf(frame) {
  return asText(frame.filename || frame.module || frame.package || frame.absPath || frame.instructionAddr);
}

// Long paths are cut from the left: the end says more.
function shortened(path) {
  return path.length > 90 ? `…${path.slice(-88)}` : path;
}

function source(frame) {
  const lines = frame.context ?? [];
  if (!lines.length) return null;
  const hit = lines.findIndex(([number]) => number === frame.lineNo);
  const begin = Math.max(0, Math.min(hit - 3, lines.length - SHOWN_LINES));
  const shown = lines.slice(begin, begin + SHOWN_LINES);
  return h(
    "pre",
    { class: "src", tabindex: "0", "aria-label": "Source" },
    shown.map(([number, line]) => h("span", { class: number === frame.lineNo ? "hit" : null }, h("i", null, number), text(line, 2000))),
  );
}

function variables(frame) {
  const all = Object.entries(frame.vars ?? {});
  if (!all.length) return null;
  const list = h("dl", { class: "kv mono" }, all.slice(0, MAX_VARIABLES).map(([name, given]) => [h("dt", null, text(name, 200)), value(given)]));
  if (all.length > MAX_VARIABLES) list.append(h("dt", null, "…"), h("dd", null, `${plural(all.length - MAX_VARIABLES, "more variable")}`));
  return list;
}

function content(frame, withLocals) {
  const made = [source(frame), withLocals && variables(frame)].filter(Boolean);
  return made.length ? made : [h("p", { class: "small dim where" }, frame.instructionAddr ? `at ${asText(frame.instructionAddr).slice(0, 40)}` : "No source was sent for this frame.")];
}

export function frameElement(frame, { open = false } = {}) {
  const name = asText(frame.function) || "(no name)";
  const place = placeOf(frame);
  const mapped = frame.rawFunction || frame.isMapped;
  const summary = h(
    "summary",
    null,
    h("span", { class: "clip" }, h("b", null, text(name, 300)), place && [h("span", { class: "dim" }, " in "), text(shortened(place), 400)], frame.lineNo ? h("span", { class: "dim" }, `:${asText(frame.lineNo).slice(0, 20)}`) : null),
    h("span", { class: "end row wide" }, mapped && h("span", { class: "badge" }, "mapped"), frame.inApp && h("span", { class: "badge" }, "app")),
  );
  const box = h("details", { class: frame.inApp ? "frame" : "frame lib" }, summary);
  box.addEventListener("toggle", () => box.open && box.childElementCount === 1 && box.append(...content(frame, true)));
  if (open) {
    box.append(...content(frame, true));
    box.open = true;
  }
  return box;
}

// The names of packages in a run of library frames, at most three.
function packages(frames) {
  const names = frames.map((frame) => asText(frame.module || frame.package || frame.filename).split(/[./\\]/).find(Boolean) ?? "").filter(Boolean);
  const all = [...new Set(names)];
  return all.length > 3 ? `${all.slice(0, 2).join(", ")} and ${all.length - 2} more` : all.join(" and ");
}

function run(frames) {
  if (frames.length === 1) return frameElement(frames[0]);
  const of = packages(frames);
  const box = h("details", { class: "frame lib" }, h("summary", null, h("span", { class: "clip" }, text(`${plural(frames.length, "frame")}${of ? ` of ${of}` : ""}`, 200))));
  box.addEventListener("toggle", () => box.open && box.childElementCount === 1 && box.append(h("div", { class: "inner" }, frames.map((frame) => frameElement(frame)))));
  return box;
}

// Frames as they are sent begin with the outermost call.
export function frameList(frames, { all = false, isFirst = true } = {}) {
  const raisedFirst = [...frames].reverse();
  const noneIsOurs = !raisedFirst.some((frame) => frame.inApp);
  const shown = [];
  let waiting = [];
  let opened = !isFirst;
  const flush = () => {
    if (waiting.length) shown.push(run(waiting));
    waiting = [];
  };
  raisedFirst.forEach((frame, index) => {
    if (frame.inApp || all || (noneIsOurs && index < FIRST_OF_LIBRARY)) {
      flush();
      shown.push(frameElement(frame, { open: !opened }));
      opened = true;
    } else waiting.push(frame);
  });
  flush();
  return shown;
}

export function countOurs(frames) {
  return frames.filter((frame) => frame.inApp).length;
}

// Exceptions are sent with the cause first; the one that was thrown is last.
export function chain(values, options) {
  const thrown = [...values].reverse();
  return thrown.map((exception, index) => {
    const frames = exception.stacktrace?.frames ?? [];
    const heading = h("div", { class: "chain" }, h("b", null, "Caused by ", text(exception.type, 300)), exception.value ? [": ", text(exception.value, 1000)] : "");
    const plainText = exception.stacktraceText ? h("pre", { class: "raw", tabindex: "0", "aria-label": "Stack trace as text" }, text(exception.stacktraceText, 100000)) : null;
    const missing = !frames.length && !plainText && h("p", { class: "small dim where" }, "No stack trace was sent.");
    return [index > 0 && heading, frameList(frames, { ...options, isFirst: index === 0 }), plainText, missing];
  });
}

export function threads(values) {
  const useful = values.filter((thread) => thread.stacktrace?.frames?.length);
  if (!useful.length) return null;
  const box = h("div");
  const draw = (index) => replace(box, frameList(useful[index].stacktrace.frames));
  const first = Math.max(0, useful.findIndex((thread) => thread.crashed || thread.current));
  const label = (thread, index) => `${asText(thread.name) || `thread ${asText(thread.id) || index + 1}`}${thread.crashed ? " (crashed)" : ""}`;
  const pick = h("select", { class: "field", "aria-label": "Thread", onchange: () => draw(Number(pick.value)) }, useful.map((thread, index) => h("option", { value: index, selected: index === first }, label(thread, index).slice(0, 100))));
  draw(first);
  return h("section", { class: "card", "aria-labelledby": "threads" }, h("div", { class: "head" }, h("h2", { id: "threads" }, "Threads"), pick), box);
}
