// Settings: projects, their keys, and what to paste into a program. Changes are commands: the console may not write keys.
import { h, replace } from "../../dom/elements.js";
import { duration } from "../../dom/format.js";
import { text } from "../../dom/text.js";
import { moment } from "../../dom/times.js";
import { get, send } from "../../shell/api.js";
import { copyButton } from "../../shell/dialogs.js";
import { change } from "../../shell/router.js";
import { api, path, projectApi, session, whyNot } from "../../shell/session.js";
import { empty, fill } from "../../shell/states.js";
import { card } from "../event/sections.js";
import { SNIPPET_WORDS, SNIPPETS } from "../snippets.js";

function command(line) {
  return h("div", { class: "row code" }, h("code", { class: "grow" }, line), copyButton("Copy", line));
}

function keyRow(key) {
  const cell = (attributes, ...children) => h("td", { role: "cell", ...attributes }, children);
  const kind = key.public.startsWith("pt_") ? "public, for browsers" : "secret, for servers";
  return h(
    "tr",
    { role: "row" },
    cell({ class: "first" }, text(key.name, 80)),
    cell({ class: "wide" }, kind),
    cell({ class: "num wide" }, moment(key.dateCreated)),
    cell({ class: "num" }, key.isActive ? h("span", { class: "badge ok" }, "in use") : h("span", { class: "badge" }, "revoked")),
    cell({ class: "num full" }, key.isActive && copyButton("Copy revoke command", `axonpush keys revoke ${key.id}`)),
  );
}

function keys(project) {
  const box = h("div");
  const draw = (found) => {
    const heads = [["Key", ""], ["kind", "wide"], ["made", "num wide"], ["state", "num"], ["", "num"]];
    if (!found.length) return empty("This project has no key yet.");
    return h("table", { class: "list cardlist", role: "table", "aria-label": "Keys" }, h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads.map(([words, kind]) => h("th", { role: "columnheader", scope: "col", class: kind }, words || h("span", { class: "hide" }, "What now"))))), h("tbody", { role: "rowgroup" }, found.map(keyRow)));
  };
  const lines = h("div", { class: "sheet stack" }, h("p", { class: "small dim2" }, "The text of a key is shown once, when it is made, and stored nowhere. One more, for browsers or for servers:"), command(`axonpush keys mint --channel ${project.id} --environment production --public`), command(`axonpush keys mint --channel ${project.id} --environment production`));
  fill(box, () => get(projectApi(project.slug, "/keys/")), draw);
  return card("Keys", "keys", [box, lines]);
}

function setUp(project, sdk) {
  const box = h("div");
  const draw = (found) => {
    const dsnOf = (key) => key?.dsn.public;
    const isServer = sdk === "opentelemetry";
    const usable = found.filter((key) => key.isActive);
    const dsn = dsnOf(usable.find((key) => key.public.startsWith(isServer ? "ak_" : "pt_")) ?? usable[0]) ?? `${location.protocol}//pt_KEY@${location.hostname}/${project.id}`;
    const code = SNIPPETS[sdk](dsn).trim();
    const tabs = Object.entries(SNIPPET_WORDS).map(([name, words]) => h("button", { type: "button", class: "btn low", "aria-pressed": String(name === sdk), onclick: () => change({ sdk: name === "python" ? "" : name }, { instead: true }) }, words));
    return [h("div", { class: "tabs", role: "group", "aria-label": "Language" }, tabs), h("div", { class: "sheet" }, h("pre", { class: "snippet", tabindex: "0" }, code, copyButton("Copy", code)), h("p", { class: "small dim2" }, "Put your key where it says ", h("code", null, "…_KEY_…"), ". It appears under ", h("a", { href: path("/issues/", { query: "*" }) }, "Issues"), " by itself."))];
  };
  fill(box, () => get(projectApi(project.slug, "/keys/")), draw);
  return card("Set up", "set-up", box);
}

const LOOK_MS = 200;
const LOOKS = 50;

// The whole way: accepted by the receiver, then readable. The key goes to the console and to the receiver, and is kept nowhere.
function tryIt(project) {
  const said = h("p", { role: "status" });
  const field = h("input", { class: "field grow", type: "password", autocomplete: "off", spellcheck: "false", "aria-label": "Key or DSN", placeholder: "pt_… or the whole DSN" });
  const form = h("form", { class: "row wrap" }, field, h("button", { type: "submit", class: "btn main" }, "Send a test event"));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!field.value.trim()) return field.focus();
    said.textContent = "Sending…";
    const began = performance.now();
    try {
      const sent = await send("POST", projectApi(project.slug, "/sample-event/"), {}, { key: field.value.trim() });
      if (sent.status !== 200) return replace(said, text(`Not accepted: ${sent.status || "no answer"}. ${sent.detail}`));
      await readable(sent.eventID, said, began, performance.now());
    } catch (error) {
      replace(said, text(error.message));
    }
  });
  return card("Try it", "try-it", h("div", { class: "sheet stack" }, h("p", { class: "small dim2" }, "Sends one error to this project with your key, and says when it can be read."), form, said));
}

async function readable(id, said, began, accepted) {
  said.textContent = "Accepted. Waiting until it can be read…";
  for (let look = 0; look < LOOKS; look += 1) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    const found = await get(api(`/eventids/${id}/`)).catch((error) => (error.status === 404 ? null : Promise.reject(error)));
    if (!found) continue;
    const link = found.groupId ? h("a", { href: path(`/issues/${found.groupId}/events/${id}/`) }, "Open it") : h("a", { href: path("/logs/") }, "It is in the logs");
    return replace(said, `Accepted after ${duration(accepted - began)}, readable ${duration(performance.now() - accepted)} later. `, link);
  }
  return replace(said, "Accepted, and not readable yet. ", h("a", { href: path("/delivery/") }, "Delivery"), " says what waits.");
}

export function open(place) {
  document.title = "Settings · axonpush";
  const node = h("div", { class: "view" });
  const build = (now) => {
    const chosen = session.projects.find((one) => one.slug === now.parts[3]) ?? session.projects[0];
    const list = session.projects.map((one) => h("a", { class: "btn low", href: path(`/settings/${encodeURIComponent(one.slug)}/`), "aria-current": one === chosen ? "page" : null }, text(one.name, 60), h("span", { class: "dim" }, ` ${one.id}`)));
    const tokens = card("Tokens", "tokens", h("div", { class: "sheet stack" }, h("p", { class: "small dim2" }, "You are signed in with ", h("b", null, text(session.token.name, 80)), ": ", text([...session.scopes].join(", "), 300)), command("axonpush tokens mint --name NAME --scope event:read --scope project:read --scope org:read"), command("axonpush tokens list"), command(`axonpush tokens revoke ${session.token.id}`)));
    const mayNot = whyNot("project:read");
    replace(
      node,
      h("div", { class: "row wrap lead" }, h("h1", null, "Settings"), h("p", { class: "dim2" }, text(session.organisation.name, 80))),
      h("nav", { class: "row wrap lead", "aria-label": "Projects" }, list),
      h("div", { class: "stack" }, mayNot ? empty(mayNot) : chosen ? [setUp(chosen, SNIPPETS[now.query.get("sdk")] ? now.query.get("sdk") : "python"), tryIt(chosen), keys(chosen)] : empty("No project yet.", h("code", null, "axonpush channels create --name NAME")), tokens),
    );
  };
  build(place);
  return { node, update: build };
}
