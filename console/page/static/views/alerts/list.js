// Alerts: rules with their state, what they said, and what became of it.
import { button, h, replace } from "../../dom/elements.js";
import { whole } from "../../dom/format.js";
import { mark } from "../../dom/marks.js";
import { cell, row, table } from "../../dom/table.js";
import { text } from "../../dom/text.js";
import { ago } from "../../dom/times.js";
import { page } from "../../shell/api.js";
import { change, go } from "../../shell/router.js";
import { api, path, whyNot } from "../../shell/session.js";
import { empty, fill } from "../../shell/states.js";
import { history } from "./history.js";
import { actionList, badge, rulePath } from "./parts.js";

const EVERY_MS = 10000;
const PER_PAGE = 25;
const TABS = [["", "Rules"], ["firings", "Firings"], ["deliveries", "Deliveries"]];
const HEADS = [["Rule", ""], ["tells", "wide"], ["last fired", "num"], ["state", "num"]];

function ruleRow(rule) {
  const { state } = rule;
  const where = [...rule.projects, rule.environment].filter(Boolean).join(", ");
  const failing = state.failing > 0 && [h("br"), h("span", { class: "small" }, mark("warning", ""), ` ${whole(state.failing)} not delivered`)];
  return row(
    cell({ class: "first" }, h("a", { href: rulePath(rule.id) }, text(rule.name, 120)), h("br"), h("span", { class: "small dim" }, text(rule.when, 300), where && [", ", text(where, 120)]), state.error && [h("br"), h("span", { class: "small failed-text" }, text(state.error, 300))]),
    cell({ class: "wide small" }, actionList(rule.actions)),
    cell({ class: "num", "data-l": "last fired" }, ago(state.lastFired)),
    cell({ class: "num" }, badge(state.status, ["firing", "warning"].includes(state.status) && state.since), failing),
  );
}

function nothing() {
  const why = whyNot("alerts:write");
  return empty("No rules yet. Most people begin with: a new issue in production.", button("Make this rule", () => go(path("/alerts/new/")), { kind: "main", why }));
}

function lead(tab) {
  const tabs = TABS.map(([name, words]) => h("button", { type: "button", class: "btn low", "aria-pressed": String(name === tab), onclick: () => change({ tab: name }) }, words));
  const add = button("New rule", () => go(path("/alerts/new/")), { kind: "main", why: whyNot("alerts:write") });
  return h("div", { class: "row wrap lead" }, h("h1", null, "Alerts"), h("div", { class: "row", role: "group", "aria-label": "Kind of list" }, tabs), h("span", { class: "end" }, add));
}

function rules(box, foot, { project, cursor, isPoll }) {
  const read = () => page(api("/alerts/"), { project, cursor, limit: PER_PAGE }, { isPoll });
  return fill(box, read, ({ entries, cursor: beside }) => {
    const back = cursor && button("Previous", () => change({ cursor: beside.previous }), { kind: "low" });
    replace(foot, h("span", { class: "end row" }, back, beside.next && button("Next", () => change({ cursor: beside.next }), { kind: "low" })));
    return entries.length ? table("Rules", HEADS, entries.map(ruleRow)) : nothing();
  });
}

export function open(place) {
  document.title = "Alerts · axonpush";
  const node = h("div", { class: "view" });
  const box = h("div", { class: "card" });
  const foot = h("div", { class: "row foot" });
  const mayNot = whyNot("alerts:read");
  let query = place.query;
  const tab = () => query.get("tab") ?? "";
  const load = (isPoll = false) => {
    const asked = { project: query.get("project"), cursor: query.get("cursor"), isPoll };
    if (mayNot) return replace(box, empty(mayNot));
    return tab() ? history(tab() === "firings" ? "firings" : "deliveries", box, foot, asked) : rules(box, foot, asked);
  };
  const build = () => {
    replace(node, lead(tab()), box, foot);
    load();
  };
  build();
  const timer = setInterval(() => !document.hidden && !box.contains(document.activeElement) && load(true), EVERY_MS);
  return {
    node,
    update(next) {
      query = next.query;
      build();
    },
    close: () => clearInterval(timer),
    keys: { n: ["new rule", () => !whyNot("alerts:write") && go(path("/alerts/new/"))] },
  };
}
