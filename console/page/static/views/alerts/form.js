// A rule is made and changed here, read as a sentence while it is.
import { button, h, replace } from "../../dom/elements.js";
import { get, send } from "../../shell/api.js";
import { copyButton, openDialog } from "../../shell/dialogs.js";
import { change, go } from "../../shell/router.js";
import { api, path, session, whyNot } from "../../shell/session.js";
import { empty } from "../../shell/states.js";
import { card } from "../event/sections.js";
import { field } from "../settings/form.js";
import { ActionRows, testResults } from "./actions.js";
import { KINDS, ruleApi, rulePath } from "./parts.js";
import { preview } from "./preview.js";
import { actionsOf, fieldsOf, issueFields, metricFields, monitorFields, ruleOf, select } from "./sentence.js";

const FIELDS = { issue: issueFields, metric: metricFields, monitor: monitorFields };
const FIRST_NAMES = { issue: "New issues", metric: "Many errors", monitor: "Missed runs" };

// Secrets of webhooks are in this one answer. Closes only by the button.
function showSecrets(kind, rule, done) {
  const secrets = actionsOf(kind, rule).filter((action) => action.secret);
  if (!secrets.length) return done();
  const line = ({ url, secret }) => field(`Secret of ${url}`, h("div", { class: "row code" }, h("code", { class: "grow" }, secret), copyButton("Copy", secret)));
  const close = () => {
    opened.close();
    done();
  };
  const content = h("div", { class: "stack" }, h("p", null, "Messages of a webhook are signed with its secret. It is shown now and never again."), secrets.map(line), h("div", { class: "row end" }, button("I have copied it", close, { kind: "main" })));
  const opened = openDialog("Secrets of webhooks", content);
  return undefined;
}

function common(given) {
  const projects = session.projects.map(({ slug, name }) => [slug, name || slug]);
  const environment = h("input", { class: "field", name: "environment", list: "environments", value: given.environment ?? "", autocomplete: "off" });
  const list = h("datalist", { id: "environments" });
  get(api("/environments/")).then((found) => replace(list, found.map(({ name }) => h("option", { value: name })))).catch(() => {});
  return {
    name: field("Name", h("input", { class: "field", name: "name", value: given.name ?? "", maxlength: 256, required: true, autocomplete: "off" })),
    project: field("Project", select("project", projects, given.project)),
    environment: [field("Environment", environment, "Empty: every environment."), list],
  };
}

// `stored` is a rule with its kind, project and id, or null.
export function ruleForm(kind, stored) {
  const given = stored ? { ...fieldsOf(kind, stored.rule), name: stored.rule.name, environment: stored.rule.environment, project: stored.project } : { name: FIRST_NAMES[kind], environment: kind === "issue" ? "production" : "" };
  const shared = common(given);
  const actions = new ActionRows(stored ? actionsOf(kind, stored.rule) : []);
  const said = h("div", { class: "wrong", role: "alert" });
  const tried = h("div", { role: "status" });
  const save = h("button", { type: "submit", class: "btn main" }, stored ? "Save" : "Make the rule");
  const test = button("Send a test", () => trial(actions, form, tried, said, stored));
  const before = button("Would it have fired?", () => preview(kind, form, tried, said));
  const form = h(
    "form",
    { class: "sheet rule" },
    shared.name, stored ? h("input", { type: "hidden", name: "project", value: stored.project }) : shared.project, FIELDS[kind](given), shared.environment,
    h("fieldset", { class: "fieldline" }, h("legend", { class: "small dim2" }, "Then tell"), actions.box),
    said, tried, h("div", { class: "row wrap end" }, before, test, save),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    store(kind, stored, form, actions, said, save);
  });
  return form;
}

// Addresses of a stored rule are known to the server only: its actions that were not changed are tried as they are stored.
async function trial(actions, form, tried, said, stored) {
  said.textContent = "";
  tried.textContent = "Sending…";
  const given = actions.json();
  const isKept = ({ uuid, type, url }) => Boolean(stored && uuid && type !== "email" && url === undefined);
  const added = given.filter((action) => !isKept(action));
  const asked = given.filter(isKept).map(({ uuid }) => [api(`/alerts/${encodeURIComponent(stored.id)}/test/`), { action: uuid }]);
  if (added.length || !asked.length) asked.push([api("/alerts/test/"), { actions: added, name: form.elements.name.value }]);
  try {
    const answers = await Promise.all(asked.map(([address, body]) => send("POST", address, {}, body)));
    replace(tried, testResults(answers.flatMap(({ results }) => results)));
  } catch (error) {
    replace(tried);
    said.textContent = error.message;
  }
}

async function store(kind, stored, form, actions, said, save) {
  if (save.disabled) return;
  save.disabled = true;
  said.textContent = "";
  const values = new FormData(form);
  const address = ruleApi(kind, values.get("project"), stored?.id);
  try {
    const made = await send(stored ? "PUT" : "POST", address, {}, ruleOf(kind, values, actions.json()));
    showSecrets(kind, made, () => go(rulePath(made.id)));
  } catch (error) {
    said.textContent = error.message;
  } finally {
    save.disabled = false;
  }
}

// The view of a new rule.
export function open(place) {
  document.title = "New rule · Alerts · axonpush";
  const node = h("div", { class: "view" });
  const build = (now) => {
    const kind = Object.hasOwn(KINDS, now.query.get("kind") ?? "") ? now.query.get("kind") : "issue";
    const kinds = Object.entries(KINDS).map(([name, words]) => h("button", { type: "button", class: "btn low", "aria-pressed": String(name === kind), onclick: () => change({ kind: name === "issue" ? "" : name }, { instead: true }) }, words));
    const mayNot = whyNot("alerts:write");
    const content = mayNot ? empty(mayNot) : session.projects.length ? ruleForm(kind, null) : empty("No project yet.", h("a", { class: "btn", href: path("/settings/") }, "Settings"));
    replace(
      node,
      h("nav", { class: "small dim path", "aria-label": "Breadcrumb" }, h("a", { href: path("/alerts/") }, "Alerts")),
      h("div", { class: "row wrap lead" }, h("h1", null, "New rule"), h("div", { class: "row", role: "group", "aria-label": "Kind of rule" }, kinds)),
      card(`${KINDS[kind]} rule`, "rule", content),
    );
  };
  build(place);
  return { node, update: build, keys: { Escape: ["back to the list", () => go(path("/alerts/"))] } };
}
