// A run of agents as a conversation: who said what, which tool was called, what it took and cost. All of it is text.
import { h, replace } from "../../dom/elements.js";
import { duration, plural, short, whole } from "../../dom/format.js";
import { mark } from "../../dom/marks.js";
import { text } from "../../dom/text.js";
import { get } from "../../shell/api.js";
import { api, path } from "../../shell/session.js";
import { empty, fill } from "../../shell/states.js";
import { card } from "../event/sections.js";

const WHO = { user: "user", system: "system", developer: "developer" };
const FIRST_CHARACTERS = 400;

// $0.0031; of a model without a price it says so, never $0.
export function money(dollars, models = []) {
  if (dollars === null || dollars === undefined) return h("span", { class: "dim" }, models.length ? "price not set" : "no cost");
  return `$${dollars >= 1 ? dollars.toFixed(2) : Number(dollars.toPrecision(3))}`;
}

const tokens = (one) => `${short(one.tokensIn)} in, ${short(one.tokensOut)} out`;

function words(given, length) {
  if (given.length <= FIRST_CHARACTERS) return h("p", { class: "said-text" }, text(given));
  const rest = h("p", { class: "said-text" }, text(given), length > given.length && h("span", { class: "dim" }, ` … ${whole(length - given.length)} more characters were sent`));
  return h("details", { class: "long-text" }, h("summary", null, text(given.slice(0, FIRST_CHARACTERS)), h("span", { class: "dim" }, ` … show all ${whole(length)} characters`)), rest);
}

function part(one) {
  if (one.kind === "text") return words(one.text, one.length);
  if (one.kind === "other") return h("p", { class: "small dim" }, `(${one.name})`);
  const arrow = one.kind === "call" ? "calls" : "result of";
  return h("details", { class: "long-text" }, h("summary", { class: "small dim2" }, `${arrow} `, h("b", null, text(one.name || "a tool", 120))), h("pre", { class: "raw", tabindex: "0" }, text(one.text)));
}

function line(step, who, facts, content) {
  return h(
    "li",
    { class: `step deep-${step.depth} of-${step.kind}` },
    h("span", { class: "mono dim at" }, duration(step.at)),
    h("div", { class: "who" }, step.failed && [mark("error", "failed"), " "], who, " ", h("span", { class: "small dim" }, facts)),
    h("div", { class: "what" }, content),
  );
}

function errors(step) {
  const links = (step.errors ?? []).map((error) => h("p", null, h("a", { href: path(`/issues/${error.issue}/events/${error.event}/`) }, "Open ", text(error.title, 200))));
  return [step.failed && step.said && h("p", { class: "failed-text" }, text(step.said, 1000)), links];
}

function messageLine(step) {
  const { role, parts } = step.message;
  return line(step, h("b", null, text(WHO[role] ?? role, 40)), "", parts.map(part));
}

function modelLine(step) {
  const cached = step.tokensCached > 0 ? `, ${short(step.tokensCached)} cached` : "";
  const thought = step.tokensReasoning > 0 ? `, ${short(step.tokensReasoning)} reasoning` : "";
  const facts = [`${step.operation} ${duration(step.duration)}, ${tokens(step)}${cached}${thought}, `, money(step.dollars, [step.name])];
  const said = step.messages.flatMap((message) => message.parts).map(part);
  return line(step, h("b", { class: "mono" }, text(step.name, 80)), facts, [said.length ? said : h("p", { class: "small dim" }, "Its answer was not recorded."), errors(step)]);
}

function toolLine(step) {
  const shown = (label, one) => one.length > 0 && h("details", { class: "long-text" }, h("summary", { class: "small" }, h("span", { class: "dim" }, `${label} `), h("span", { class: "mono clip" }, text(one.text, 160))), h("pre", { class: "raw", tabindex: "0" }, text(one.text)));
  return line(step, ["tool ", h("b", { class: "mono" }, text(step.name, 80))], duration(step.duration), [shown("given", step.arguments), shown("answered", step.result), errors(step)]);
}

function agentLine(step) {
  return line(step, ["agent ", h("b", null, text(step.name, 80))], `${step.operation.replaceAll("_", " ")} ${duration(step.duration)}`, errors(step));
}

const LINES = { message: messageLine, model: modelLine, tool: toolLine, agent: agentLine };

function byModel(run) {
  const rows = run.models.map((one) =>
    h("li", { class: "model" }, h("div", { class: "row" }, h("b", { class: "mono grow" }, text(one.model || "(no name)", 80)), money(one.dollars, [one.model])), h("p", { class: "small dim" }, text(one.provider, 60), one.provider && ", ", `${plural(one.calls, "call")}, ${tokens(one)}`)),
  );
  const unpriced = run.unpriced.filter(Boolean);
  const words = unpriced.length > 0 && h("p", { class: "sheet small dim2" }, "Price of ", text(unpriced.join(", "), 200), " not set: add it to the table ", h("code", null, "model_prices"), ".");
  return card("By model", "by-model", [h("ul", null, rows), words]);
}

function facts(run) {
  const fact = (name, given) => h("div", null, h("dt", null, name), " ", h("dd", null, given));
  const partly = run.dollars !== null && run.unpriced.length > 0 ? " at least" : "";
  return h("dl", { class: "facts lead" }, fact("Turns", whole(run.turns)), fact("Tools", whole(run.tools)), fact("Models", whole(run.models.length)), fact("Took", duration(run.duration)), fact("Tokens", tokens(run)), fact("Cost", [partly, " ", money(run.dollars, run.models)]));
}

const isRecorded = (run) => run.steps.some((step) => step.kind === "message" || (step.messages ?? []).length || step.arguments?.length);

function drawn(run) {
  if (!run.steps.length) return empty("No model, tool or agent was called in this trace.");
  const silent = !isRecorded(run) && h("p", { class: "note-line" }, "The SDK did not send the messages, only sizes and times.");
  const cut = run.isCut && h("p", { class: "note-line" }, `The first ${run.steps.length} steps are shown.`);
  const steps = h("ol", { class: "talk" }, run.steps.map((step) => LINES[step.kind](step)));
  return [facts(run), h("div", { class: "cols" }, card("Conversation", "talk", [silent, steps, cut], { note: plural(run.steps.length, "step") }), h("aside", { "aria-label": "Costs" }, byModel(run)))];
}

export function conversation(box, traceId, signal) {
  replace(box);
  return fill(box, () => get(api(`/ai-runs/${encodeURIComponent(traceId)}/`), null, { signal }), drawn);
}
