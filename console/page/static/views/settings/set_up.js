// Lines to paste into a program, with the address of the project.
import { h } from "../../dom/elements.js";
import { get } from "../../shell/api.js";
import { copyButton } from "../../shell/dialogs.js";
import { change } from "../../shell/router.js";
import { path, projectApi } from "../../shell/session.js";
import { fill } from "../../shell/states.js";
import { card } from "../event/sections.js";
import { SNIPPET_WORDS, SNIPPETS } from "../snippets.js";

function tabs(sdk) {
  const choose = (name) => () => change({ sdk: name === "python" ? "" : name }, { instead: true });
  return Object.entries(SNIPPET_WORDS).map(([name, words]) => h("button", { type: "button", class: "btn low", "aria-pressed": String(name === sdk), onclick: choose(name) }, words));
}

function dsnOf(keys, project, sdk) {
  const usable = keys.filter((key) => key.isActive);
  const wanted = usable.find((key) => key.public.startsWith(sdk === "opentelemetry" ? "ak_" : "pt_")) ?? usable[0];
  return wanted?.dsn.public ?? `${location.protocol}//pt_KEY@${location.hostname}/${project.id}`;
}

export function setUp(project, sdk) {
  const box = h("div");
  const draw = (keys) => {
    const code = SNIPPETS[sdk](dsnOf(keys, project, sdk)).trim();
    return [
      h("div", { class: "tabs", role: "group", "aria-label": "Language" }, tabs(sdk)),
      h("div", { class: "sheet" }, h("pre", { class: "snippet", tabindex: "0" }, code, copyButton("Copy", code)), h("p", { class: "small dim2" }, "Put your key where it says ", h("code", null, "…_KEY_…"), ". It appears under ", h("a", { href: path("/issues/", { query: "*" }) }, "Issues"), " by itself.")),
    ];
  };
  fill(box, () => get(projectApi(project.slug, "/keys/")), draw);
  return card("Set up", "set-up", box);
}
