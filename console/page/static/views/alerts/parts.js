// What the lists and one rule share: states in words, addresses of rules, actions.
import { h } from "../../dom/elements.js";
import { mark } from "../../dom/marks.js";
import { text } from "../../dom/text.js";
import { ago } from "../../dom/times.js";
import { api, path, projectApi } from "../../shell/session.js";

const STATES = {
  ok: ["ok", "ok", "quiet"],
  new: ["", "unknown", "not evaluated yet"],
  firing: ["error", "error", "firing"],
  warning: ["warn", "warning", "warning"],
  error: ["warn", "warning", "cannot be evaluated"],
  pending: ["", "info", "waiting"],
  delivered: ["ok", "ok", "delivered"],
  failed: ["error", "error", "given up"],
  resolved: ["ok", "ok", "resolved"],
};
export const KINDS = { issue: "Issue", metric: "Metric", monitor: "Monitor" };
export const TYPES = { webhook: "Webhook, signed", slack: "Slack or what takes its webhooks", email: "E-mail" };

export function badge(state, since) {
  const [kind, sign, words] = STATES[state] ?? ["", "unknown", state];
  return h("span", { class: `badge ${kind}` }, mark(sign, ""), text(words, 40), since && [" ", ago(since)]);
}

export const rulePath = (id) => path(`/alerts/${encodeURIComponent(id)}/`);

// Where a rule of a kind is made and changed; `id` is empty for a new one.
export function ruleApi(kind, project, id = "") {
  const below = id ? `${encodeURIComponent(id)}/` : "";
  if (kind === "metric") return api(`/alert-rules/${below}`);
  return projectApi(project, `/${kind === "issue" ? "rules" : "monitor-rules"}/${below}`);
}

export function actionWords(action) {
  return [h("span", { class: "dim" }, `${action.type} `), text(action.target ?? action.url ?? (action.to ?? []).join(", "), 120)];
}

export function actionList(actions) {
  if (!actions?.length) return h("span", { class: "dim" }, "nobody");
  return actions.slice(0, 3).map((action, index) => [index > 0 && h("br"), actionWords(action)]).concat(actions.length > 3 ? [h("br"), `and ${actions.length - 3} more`] : []);
}
