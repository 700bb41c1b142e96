// The fields of a rule as a sentence, and the JSON that they mean; and back, where a rule says no more than the fields can.
import { h } from "../../dom/elements.js";
import { field } from "../settings/form.js";

const OF = "sentry.rules.conditions.";
const LEVEL = "sentry.rules.filters.level.LevelFilter";
const QUERY = "axonpush.filters.query";
export const CONDITIONS = [
  ["new", "a new issue", `${OF}first_seen_event.FirstSeenEventCondition`],
  ["back", "an issue that was resolved comes back", `${OF}regression_event.RegressionEventCondition`],
  ["events", "an issue has more errors than", `${OF}event_frequency.EventFrequencyCondition`],
  ["users", "an issue hits more users than", `${OF}event_frequency.EventUniqueUserFrequencyCondition`],
  ["every", "every error", `${OF}every_event.EveryEventCondition`],
];
const LEVELS = [["", "of any level"], ["40", "at least an error"], ["50", "fatal"], ["30", "at least a warning"], ["20", "at least info"]];
const INTERVALS = [["5m", "5 minutes"], ["1m", "1 minute"], ["15m", "15 minutes"], ["30m", "30 minutes"], ["1h", "1 hour"], ["1d", "1 day"], ["1w", "1 week"]];
const DATASETS = [["errors", "errors"], ["spans", "spans"], ["transactions", "transactions"], ["logs", "logs"]];
const WINDOWS = [[5, "5 minutes"], [1, "1 minute"], [10, "10 minutes"], [15, "15 minutes"], [30, "30 minutes"], [60, "1 hour"], [240, "4 hours"], [1440, "1 day"]];
const RUNS = [["missed", "it is missed"], ["failed", "it failed"], ["timeout", "it ran too long"], ["late", "it is late"]];

export function select(name, choices, chosen, attributes = {}) {
  return h("select", { class: "field", name, ...attributes }, choices.map(([value, words]) => h("option", { value, selected: String(value) === String(chosen ?? choices[0][0]) }, words)));
}

function input(name, value, attributes = {}) {
  return h("input", { class: "field", name, value: value ?? "", autocomplete: "off", spellcheck: "false", ...attributes });
}

const number = (name, value, attributes) => input(name, value, { type: "number", step: "any", ...attributes });

export function issueFields(given) {
  const condition = select("condition", CONDITIONS.map(([name, words]) => [name, words]), given.condition);
  const amount = h("div", { class: "row wrap" }, number("value", given.value ?? 50, { min: 0, step: 1, "aria-label": "Number" }), h("span", { class: "dim" }, "in"), select("interval", INTERVALS, given.interval, { "aria-label": "Time" }));
  const show = () => (amount.hidden = !["events", "users"].includes(condition.value));
  condition.addEventListener("change", show);
  show();
  return [
    field("When", condition),
    amount,
    field("And it is", select("level", LEVELS, given.level)),
    field("And it matches", input("query", given.query, { placeholder: "release:latest !user.email:*@example.com" }), "The search language of Issues. Empty: all."),
    field("Quiet for", number("frequency", given.frequency ?? 30, { min: 5, step: 1, required: true }), "Minutes without another word about the same issue."),
  ];
}

export function metricFields(given) {
  return [
    field("When", h("div", { class: "row wrap" }, input("aggregate", given.aggregate ?? "count()", { required: true, "aria-label": "Function" }), h("span", { class: "dim" }, "of"), select("dataset", DATASETS, given.dataset, { "aria-label": "Data" }))),
    field("That match", input("query", given.query, { placeholder: "level:error" }), "A search. Empty: all."),
    field("In the last", select("timeWindow", WINDOWS, given.timeWindow)),
    field("Is", h("div", { class: "row wrap" }, select("thresholdType", [[0, "above"], [1, "below"]], given.thresholdType, { "aria-label": "Direction" }), number("critical", given.critical ?? 100, { required: true, "aria-label": "Critical" }))),
    field("Warn at", number("warning", given.warning), "Empty: no warning before."),
    field("Resolved at", number("resolveThreshold", given.resolveThreshold), "Empty: as soon as it no longer holds."),
  ];
}

export function monitorFields(given) {
  const on = new Set(given.on ?? ["missed", "failed"]);
  const boxes = RUNS.map(([name, words]) => h("label", { class: "row" }, h("input", { type: "checkbox", name: "on", value: name, checked: on.has(name) }), words));
  return [
    field("Monitor", input("monitor", given.monitor, { placeholder: "nightly-import" }), "Its slug. Empty: every monitor of the project."),
    h("fieldset", { class: "fieldline" }, h("legend", { class: "small dim2" }, "When a run"), boxes),
    field("In a row", number("failures", given.failures ?? 1, { min: 1, step: 1, required: true })),
    field("Margin", number("checkinMargin", given.checkinMargin, { min: 0, step: 1 }), "Minutes that a check-in may be late. Empty: as the check-ins say."),
  ];
}

const orNull = (text) => (text === "" || text === null || text === undefined ? null : Number(text));

function issueJson(given) {
  const [, , id] = CONDITIONS.find(([name]) => name === given.condition);
  const counted = ["events", "users"].includes(given.condition) ? { value: Number(given.value), interval: given.interval } : {};
  const filters = [given.level && { id: LEVEL, match: given.level === "50" ? "eq" : "gte", level: given.level }, given.query && { id: QUERY, query: given.query }].filter(Boolean);
  return { conditions: [{ id, ...counted }], filters, actionMatch: "any", filterMatch: "all", frequency: Number(given.frequency) };
}

function metricJson(given, actions) {
  const critical = { label: "critical", alertThreshold: Number(given.critical), actions };
  const warning = given.warning !== "" && [{ label: "warning", alertThreshold: Number(given.warning), actions: [] }];
  return { dataset: given.dataset, aggregate: given.aggregate, query: given.query, timeWindow: Number(given.timeWindow), thresholdType: Number(given.thresholdType), resolveThreshold: orNull(given.resolveThreshold), triggers: [critical, ...(warning || [])], projects: [given.project] };
}

// The rule that the values of a form mean. `values` is a FormData.
export function ruleOf(kind, values, actions) {
  const given = Object.fromEntries(values);
  const every = { name: given.name.trim(), environment: given.environment || null };
  if (kind === "metric") return { ...every, ...metricJson(given, actions) };
  if (kind === "issue") return { ...every, ...issueJson(given), actions };
  return { ...every, monitor: given.monitor.trim(), on: values.getAll("on"), failures: Number(given.failures), checkinMargin: orNull(given.checkinMargin), actions };
}

function ofIssue(rule) {
  const [condition] = rule.conditions ?? [];
  const known = CONDITIONS.find(([, , id]) => id === condition?.id);
  const filters = rule.filters ?? [];
  const [levels, queries] = [filters.filter(({ id }) => id === LEVEL), filters.filter(({ id }) => id === QUERY)];
  const fitting = rule.conditions?.length === 1 && known && levels.length < 2 && queries.length < 2 && levels.length + queries.length === filters.length;
  const level = levels[0];
  if (!fitting || condition.comparisonType === "percent" || (level && level.match !== (String(level.level) === "50" ? "eq" : "gte")) || (filters.length && rule.filterMatch !== "all")) return null;
  return { condition: known[0], value: condition.value, interval: condition.interval, level: level ? String(level.level) : "", query: queries[0]?.query, frequency: rule.frequency };
}

function ofMetric(rule) {
  const triggers = Object.fromEntries((rule.triggers ?? []).map((trigger) => [trigger.label, trigger]));
  if (rule.projects?.length !== 1 || rule.comparisonDelta || triggers.warning?.actions?.length || !triggers.critical) return null;
  return { ...rule, critical: triggers.critical.alertThreshold, warning: triggers.warning?.alertThreshold };
}

// The values of the fields for a rule; null if it says more than the form can.
export function fieldsOf(kind, rule) {
  if (kind === "issue") return ofIssue(rule);
  if (kind === "metric") return ofMetric(rule);
  return rule.schedule || rule.maxRuntime || rule.timezone ? null : rule;
}

export function actionsOf(kind, rule) {
  return kind === "metric" ? (rule.triggers ?? []).flatMap((trigger) => trigger.actions ?? []) : (rule.actions ?? []);
}
