// Whom a rule tells: rows of the form, each a webhook, Slack, or e-mail.
import { button, h, replace } from "../../dom/elements.js";
import { text } from "../../dom/text.js";
import { select } from "./sentence.js";
import { TYPES } from "./parts.js";

const HINTS = { webhook: "address of the webhook", slack: "address that Slack gave", email: "ops@example.com, team@example.com" };
const MOST = 10;

// As the API reads it. An action that is stored already, and was not changed, keeps its address and secret.
function jsonOf({ type, address, stored }) {
  if (stored && type.value === stored.type && address.value.trim() === addressOf(stored)) return stored.type === "email" ? stored : { uuid: stored.uuid, type: stored.type };
  const given = address.value.trim();
  // With its uuid, messages that wait go to the new address.
  const same = stored?.type === type.value ? { uuid: stored.uuid } : {};
  return type.value === "email" ? { type: "email", to: given.split(/[\s,;]+/).filter(Boolean), ...same } : { type: type.value, url: given, ...same };
}

const addressOf = (stored) => (stored.type === "email" ? (stored.to ?? []).join(", ") : (stored.url ?? ""));

export class ActionRows {
  constructor(stored) {
    this.box = h("div", { class: "stack" });
    this.rows = [];
    (stored.length ? stored : [null]).forEach((action) => this.add(action));
  }

  add(stored = null) {
    const number = this.rows.length + 1;
    const type = select(`type-${number}`, Object.entries(TYPES), stored?.type, { "aria-label": `Kind of message ${number}` });
    const address = h("input", { class: "field grow", "aria-label": `Address of message ${number}`, value: stored ? addressOf(stored) : "", placeholder: HINTS[type.value], autocomplete: "off", spellcheck: "false", required: true });
    type.addEventListener("change", () => (address.placeholder = HINTS[type.value]));
    const entry = { type, address, stored };
    entry.element = h("div", { class: "row wrap action" }, type, address, button("Remove", () => this.remove(entry), { kind: "low quiet" }));
    this.rows.push(entry);
    this.draw();
  }

  remove(entry) {
    this.rows = this.rows.filter((one) => one !== entry);
    this.draw();
  }

  draw() {
    const none = !this.rows.length && h("p", { class: "small dim2" }, "It tells nobody; it is seen here only.");
    const more = this.rows.length < MOST && button("Tell somebody else too", () => this.add(), { kind: "low" });
    replace(this.box, this.rows.map(({ element }) => element), none, h("div", { class: "row" }, more));
  }

  json() {
    return this.rows.map(jsonOf);
  }
}

// What a test said, one line for each action.
export function testResults(results) {
  return results.map((one) => h("p", { class: one.delivered ? "" : "failed-text" }, `${one.type}: ${one.delivered ? "delivered" : "not delivered"}. `, text(one.answer, 300)));
}
