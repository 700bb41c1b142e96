// One rule: its state, whom it tells, what it said; tested, changed and deleted by who may.
import { button, h, replace } from "../../dom/elements.js";
import { plain, text } from "../../dom/text.js";
import { ago } from "../../dom/times.js";
import { get, send } from "../../shell/api.js";
import { ask, copyButton, say } from "../../shell/dialogs.js";
import { change, go } from "../../shell/router.js";
import { api, path, whyNot } from "../../shell/session.js";
import { failure, loadingRows } from "../../shell/states.js";
import { card } from "../event/sections.js";
import { testResults } from "./actions.js";
import * as newRule from "./form.js";
import { history } from "./history.js";
import { actionList, badge, KINDS } from "./parts.js";
import { fieldsOf } from "./sentence.js";

const of = (rule) => api(`/alerts/${encodeURIComponent(rule.id)}/`);

function facts(rule) {
  const { state } = rule;
  const fact = (name, shown) => h("div", null, h("dt", null, name), " ", h("dd", null, shown));
  return h(
    "dl",
    { class: "facts lead" },
    fact("State", badge(state.status, ["firing", "warning"].includes(state.status) && state.since)),
    fact("Last fired", ago(state.lastFired)),
    fact("Evaluated", ago(state.evaluated)),
    fact("Project", text(rule.projects.join(", "), 120)),
    rule.environment && fact("Environment", text(rule.environment, 64)),
    rule.frequency && fact("Quiet for", `${rule.frequency} min`),
  );
}

async function remove(rule) {
  const words = h("p", null, "It tells nobody any more. What it said stays in the history. This cannot be undone.");
  const answer = await ask(h("span", null, "Delete ", text(rule.name, 80), "?"), words, [{ label: "Keep", value: "" }, { label: "Delete", value: "delete", kind: "main" }], "");
  if (answer !== "delete") return;
  try {
    await send("DELETE", of(rule));
    go(path("/alerts/"));
  } catch (error) {
    say(error.message);
  }
}

async function trial(rule, tried, done) {
  tried.textContent = "Sending…";
  try {
    const { results } = await send("POST", `${of(rule)}test/`, {}, {});
    replace(tried, testResults(results));
    done();
  } catch (error) {
    replace(tried, h("p", { class: "failed-text" }, text(error.message)));
  }
}

// The form, or the JSON of a rule that says more than the form can.
function editCard(rule) {
  const close = button("Cancel", () => change({ edit: "" }, { instead: true }), { kind: "low quiet" });
  if (fieldsOf(rule.kind, rule.rule)) return card("Change the rule", "edit", newRule.ruleForm(rule.kind, { ...rule, project: rule.projects[0] }), { side: close });
  const words = JSON.stringify(rule.rule, null, 2);
  const content = [h("p", { class: "sheet small dim2" }, "This rule says more than the form can. Change it with the Web API: docs/alerts.md."), h("pre", { class: "raw", tabindex: "0", "aria-label": "Rule as JSON" }, text(words, 64000))];
  return card("Change the rule", "edit", content, { side: [copyButton("Copy", words), close] });
}

function heading(rule, tried, done) {
  const why = whyNot("alerts:write");
  const acts = [
    button("Send a test", () => trial(rule, tried, done), { why }),
    button("Change", () => change({ edit: "1" }, { instead: true }), { why }),
    button("Delete…", () => remove(rule), { why }),
  ];
  return [
    h("nav", { class: "small dim path", "aria-label": "Breadcrumb" }, h("a", { href: path("/alerts/") }, "Alerts")),
    h("div", { class: "row wrap" }, h("h1", null, text(rule.name, 200)), h("span", { class: "end row wrap" }, acts)),
    h("p", { class: "msg" }, `${KINDS[rule.kind] ?? rule.kind} rule: when `, text(rule.when, 400)),
    facts(rule),
    rule.state.error && h("p", { class: "problem" }, text(rule.state.error, 500)),
  ];
}

export function open(place) {
  const id = place.parts[3];
  if (id === "new") return newRule.open(place);
  const node = h("div", { class: "view" }, loadingRows(6));
  const [firings, deliveries, tried] = [h("div"), h("div"), h("div", { role: "status", class: "tried" })];
  let query = place.query;
  let rule = null;

  const lists = () => {
    history("firings", firings, null, { rule: id });
    history("deliveries", deliveries, null, { rule: id });
  };
  const draw = () => {
    document.title = `${plain(rule.name, 60)} · Alerts · axonpush`;
    const tells = card("Tells", "tells", h("div", { class: "sheet stack" }, h("div", null, actionList(rule.actions)), tried));
    const edit = query.get("edit") === "1" && !whyNot("alerts:write") && editCard(rule);
    replace(node, heading(rule, tried, lists), h("div", { class: "stack" }, edit, tells, card("Firings", "firings", firings), card("Deliveries", "deliveries", deliveries)));
  };
  const load = async () => {
    try {
      rule = await get(api(`/alerts/${encodeURIComponent(id)}/`));
      draw();
      lists();
    } catch (error) {
      replace(node, h("h1", null, "This rule cannot be shown"), h("div", { class: "card" }, failure(error, load)));
    }
  };
  load();
  return {
    node,
    update(next) {
      query = next.query;
      if (rule && query.get("edit") === "1") draw();
      else load(); // it may have been changed
    },
    keys: { Escape: ["back to the list", () => go(path("/alerts/"))] },
  };
}
