// The keys of a project: made and revoked by who may.
import { button, h } from "../../dom/elements.js";
import { cell, row, table } from "../../dom/table.js";
import { text } from "../../dom/text.js";
import { ago, moment } from "../../dom/times.js";
import { get, send } from "../../shell/api.js";
import { ask, say } from "../../shell/dialogs.js";
import { projectApi, whyNot } from "../../shell/session.js";
import { empty, fill } from "../../shell/states.js";
import { card } from "../event/sections.js";
import { newKey } from "./new_key.js";

const HEADS = [["Key", ""], ["environment", "wide"], ["made", "num wide"], ["last used", "num"], ["What now", "num", true]];

async function revoke(project, key, done) {
  const used = key.lastUsed ? ["It was used ", ago(key.lastUsed), ". "] : "";
  const words = h("p", null, used, "Senders with it are refused within a second. This cannot be undone.");
  const answer = await ask(h("span", null, "Revoke ", text(key.name, 80), "?"), words, [{ label: "Keep", value: "" }, { label: "Revoke", value: "revoke", kind: "main" }], "");
  if (answer !== "revoke") return;
  try {
    await send("DELETE", projectApi(project.slug, `/keys/${encodeURIComponent(key.id)}/`));
    say("Revoked.");
  } catch (error) {
    say(error.message);
  }
  done();
}

function keyRow(key, project, done) {
  const kind = key.kind === "public" ? "public, for browsers" : "secret, for servers";
  const reach = key.projects === null ? "all projects" : key.projects > 1 ? `${key.projects} projects` : "";
  const why = whyNot("project:admin");
  return row(
    cell({ class: "first" }, text(key.name, 80), h("br"), h("span", { class: "small dim" }, [kind, reach, key.id].filter(Boolean).join(", "))),
    cell({ class: "wide" }, text(key.environment, 64)),
    cell({ class: "num wide" }, moment(key.dateCreated)),
    cell({ class: "num", "data-l": "used" }, ago(key.lastUsed)),
    cell({ class: "num" }, key.isActive ? button("Revoke…", () => revoke(project, key, done), { kind: "low", why }) : h("span", { class: "badge" }, "revoked")),
  );
}

// `onMade` gets a new key with its text.
export function keys(project, onMade) {
  const box = h("div");
  const read = () => get(projectApi(project.slug, "/keys/"), { lastUsed: 1 });
  const load = () => fill(box, read, draw);
  const draw = (found) => {
    if (!found.length) return empty("This project has no key yet.");
    const active = [...found].sort((one, other) => other.isActive - one.isActive);
    return table("Keys", HEADS, active.map((key) => keyRow(key, project, load)));
  };
  const made = (key) => {
    onMade(key);
    load();
  };
  load();
  const add = button("New key", () => newKey(project, made), { kind: "low", why: whyNot("project:admin") });
  return card("Keys", "keys", box, { note: "the text of a key is shown once, when it is made", side: add });
}
