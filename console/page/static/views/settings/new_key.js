// A new key: its text is shown once, with what to paste where.
import { button, h } from "../../dom/elements.js";
import { get, send } from "../../shell/api.js";
import { copyButton, openDialog } from "../../shell/dialogs.js";
import { api, projectApi } from "../../shell/session.js";
import { SNIPPETS } from "../snippets.js";
import { choice, field, formDialog } from "./form.js";

const KINDS = [["public", "Public, for browsers and apps: anyone may read it there"], ["secret", "Secret, for servers"]];

function line(label, given) {
  return h("div", { class: "fieldline" }, h("span", { class: "small dim2" }, label), h("div", { class: "row code" }, h("code", { class: "grow" }, given), copyButton("Copy", given, { "aria-label": `Copy ${label}` })));
}

// Closes only by the button: the text is stored nowhere.
function showOnce(made) {
  const otlp = SNIPPETS.opentelemetry(made.dsn.public).trim();
  const content = h(
    "div",
    { class: "stack" },
    h("p", null, "It is shown now and never again: only its hash is stored."),
    line("Key", made.text),
    line("DSN, for SDKs of Sentry", made.dsn.public),
    h("div", { class: "fieldline" }, h("span", { class: "small dim2" }, "OpenTelemetry"), h("pre", { class: "snippet", tabindex: "0" }, otlp, copyButton("Copy", otlp, { "aria-label": "Copy settings of OpenTelemetry" }))),
    h("div", { class: "row end" }, button("I have copied it", () => opened.close(), { kind: "main" })),
  );
  const opened = openDialog("Your new key", content);
  opened.dialog.classList.add("broad");
}

async function environments() {
  const found = await get(api("/environments/")).catch(() => []);
  return found.map(({ name }) => name);
}

export async function newKey(project, done) {
  const known = await environments();
  const list = h("datalist", { id: "environments" }, known.map((name) => h("option", { value: name })));
  const first = known.includes("production") || !known.length ? "production" : known[0];
  const fields = [
    field("Name", h("input", { class: "field", name: "name", maxlength: 200, autocomplete: "off", placeholder: "web shop" })),
    choice("kind", "Kind", KINDS),
    field("Environment", h("input", { class: "field", name: "environment", list: "environments", value: first, required: true, pattern: "[a-z0-9][a-z0-9._\\-]{0,63}", autocomplete: "off" }), known.length ? `There are ${known.slice(0, 8).join(", ")}. Another name makes a new one.` : "The first one is made with the key."),
    list,
  ];
  formDialog(`New key for ${project.name}`, fields, "Make the key", async (given) => {
    const made = await send("POST", projectApi(project.slug, "/keys/"), {}, { ...given, isNewEnvironment: !known.includes(given.environment) });
    done(made);
    showOnce(made);
  });
}
