// A test event: accepted by the receiver, then readable. The key goes to the console and to the receiver, and is kept nowhere.
import { h, replace } from "../../dom/elements.js";
import { duration } from "../../dom/format.js";
import { text } from "../../dom/text.js";
import { get, send } from "../../shell/api.js";
import { api, path, projectApi } from "../../shell/session.js";
import { card } from "../event/sections.js";

const LOOK_MS = 200;
const LOOKS = 50;

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

async function sendOne(project, key, said) {
  said.textContent = "Sending…";
  const began = performance.now();
  try {
    const sent = await send("POST", projectApi(project.slug, "/sample-event/"), {}, { key });
    if (sent.status !== 200) return replace(said, text(`Not accepted: ${sent.status || "no answer"}. ${sent.detail}`));
    return await readable(sent.eventID, said, began, performance.now());
  } catch (error) {
    return replace(said, text(error.message));
  }
}

// `card.fill` puts a key into the field.
export function tryIt(project) {
  const said = h("p", { role: "status" });
  const field = h("input", { class: "field grow", type: "password", autocomplete: "off", spellcheck: "false", "aria-label": "Key or DSN", placeholder: "pt_… or the whole DSN" });
  const form = h("form", { class: "row wrap" }, field, h("button", { type: "submit", class: "btn main" }, "Send a test event"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const key = field.value.trim();
    if (key) sendOne(project, key, said);
    else field.focus();
  });
  const made = card("Try it", "try-it", h("div", { class: "sheet stack" }, h("p", { class: "small dim2" }, "Sends one error to this project with your key, and says when it can be read."), form, said));
  made.fill = (key) => (field.value = key);
  return made;
}
