// Settings: projects, their keys, lines to paste into a program, a test event; tokens.
import { button, h, replace } from "../../dom/elements.js";
import { text } from "../../dom/text.js";
import { send } from "../../shell/api.js";
import { copyButton } from "../../shell/dialogs.js";
import { go } from "../../shell/router.js";
import { api, load, path, session, whyNot } from "../../shell/session.js";
import { empty } from "../../shell/states.js";
import { card } from "../event/sections.js";
import { SNIPPETS } from "../snippets.js";
import { field, formDialog } from "./form.js";
import { keys } from "./keys.js";
import { setUp } from "./set_up.js";
import { tryIt } from "./try_it.js";

const settingsOf = (slug) => path(`/settings/${encodeURIComponent(slug)}/`);

function command(line) {
  return h("div", { class: "row code" }, h("code", { class: "grow" }, line), copyButton("Copy", line));
}

function newProject() {
  const fields = [
    field("Name", h("input", { class: "field", name: "name", maxlength: 200, required: true, autocomplete: "off", placeholder: "Web shop" })),
    field("Slug", h("input", { class: "field", name: "slug", maxlength: 50, pattern: "[a-z0-9][a-z0-9_\\-]{0,49}", autocomplete: "off", placeholder: "web-shop" }), "In addresses and short ids. Left empty, it is made from the name."),
  ];
  formDialog("New project", fields, "Make the project", async (given) => {
    const made = await send("POST", api("/projects/"), {}, given);
    await load();
    go(settingsOf(made.slug));
  });
}

function projectLinks(chosen) {
  const links = session.projects.map((one) => h("a", { class: "btn low", href: settingsOf(one.slug), "aria-current": one === chosen ? "page" : null }, text(one.name, 60), h("span", { class: "dim" }, ` ${one.id}`)));
  return h("nav", { class: "row wrap lead", "aria-label": "Projects" }, links, button("New project", newProject, { kind: "low quiet", why: whyNot("project:admin") }));
}

function tokens() {
  const content = [
    h("p", { class: "small dim2" }, "You are signed in with ", h("b", null, text(session.token.name, 80)), ": ", text([...session.scopes].join(", "), 400)),
    command("axonpush tokens mint --name NAME --scope event:read --scope project:read --scope org:read"),
    command("axonpush tokens list"),
    command(`axonpush tokens revoke ${session.token.id}`),
  ];
  return card("Tokens", "tokens", h("div", { class: "sheet stack" }, content));
}

function ofProject(project, sdk) {
  const trying = tryIt(project);
  return [setUp(project, sdk), trying, keys(project, (key) => trying.fill(key.text))];
}

export function open(place) {
  document.title = "Settings · axonpush";
  const node = h("div", { class: "view" });
  const build = (now) => {
    const chosen = session.projects.find((one) => one.slug === now.parts[3]) ?? session.projects[0];
    const sdk = Object.hasOwn(SNIPPETS, now.query.get("sdk") ?? "") ? now.query.get("sdk") : "python";
    const mayNot = whyNot("project:read");
    const content = mayNot ? empty(mayNot) : chosen ? ofProject(chosen, sdk) : empty("No project yet. Make the first one above.");
    replace(node, h("div", { class: "row wrap lead" }, h("h1", null, "Settings"), h("p", { class: "dim2" }, text(session.organisation.name, 80))), projectLinks(chosen), h("div", { class: "stack" }, content, tokens()));
  };
  build(place);
  return { node, update: build };
}
