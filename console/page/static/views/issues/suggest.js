// Suggestions below a search field: names of fields, and after `name:` its values of the last day with how often they came.
import { h, replace } from "../../dom/elements.js";
import { short } from "../../dom/format.js";
import { text } from "../../dom/text.js";
import { get } from "../../shell/api.js";
import { here } from "../../shell/router.js";
import { api } from "../../shell/session.js";

const WAIT_MS = 150;
const MOST = 8;
const STATES = ["unresolved", "resolved", "archived", "ignored", "regressed", "new"];
const OF_ISSUES = ["is", "level", "release", "environment", "error.type", "error.unhandled", "user.id", "transaction", "timesSeen", "firstSeen", "lastSeen", "assigned", "has"];
const names = new Map();

// Of the attributes that events of the last day have, and the fields that all have.
async function namesOf(dataset, signal) {
  if (!names.has(dataset)) {
    const found = await get(api("/trace-items/attributes/"), { itemType: dataset, statsPeriod: "24h", per_page: 500 }, { signal });
    const first = dataset === "errors" ? OF_ISSUES : [];
    names.set(dataset, [...new Set([...first, ...found.map(({ key }) => key)])]);
  }
  return names.get(dataset);
}

async function valuesOf(dataset, name, part, signal) {
  if (name === "is") return STATES.filter((state) => state.startsWith(part)).map((state) => [state, null]);
  const query = part ? `${name}:"*${part.replace(/["*\\]/g, "")}*"` : `has:${name}`;
  const asked = { dataset, field: [name, "count()"], sort: "-count()", statsPeriod: "24h", per_page: MOST, query, project: here().query.get("project") };
  const found = await get(api("/events/"), asked, { signal });
  return found.data.map((row) => [String(row[name] ?? ""), row["count()"]]).filter(([value]) => value);
}

const quoted = (value) => (/^[^\s"[\]()*,]+$/.test(value) ? value : `"${value.replace(/["\\]/g, "\\$&")}"`);

// The choices for a word: [what is put in its place, what is shown, how often].
async function choicesFor(word, dataset, signal) {
  const [, sign, name, colon, part] = /^(!?)([^:]*)(:?)(.*)$/s.exec(word);
  if (colon) {
    const values = await valuesOf(dataset, name, part.replaceAll('"', ""), signal);
    return values.slice(0, MOST).map(([value, count]) => [`${sign}${name}:${quoted(value)}`, value, count]);
  }
  const all = await namesOf(dataset, signal);
  const fitting = all.filter((one) => one.toLowerCase().includes(name.toLowerCase()));
  fitting.sort((one, other) => other.startsWith(name) - one.startsWith(name));
  return fitting.slice(0, MOST).map((one) => [`${sign}${one}:`, one, null]);
}

export class Suggestions {
  // `accept` gets a whole term; a name alone stays in the field.
  constructor(input, dataset, accept) {
    Object.assign(this, { input, dataset, accept });
    this.choices = [];
    this.at = -1;
    this.asking = new AbortController();
    this.timer = 0;
    this.box = h("ul", { class: "suggestions", id: "suggestions", role: "listbox", "aria-label": "Suggestions", hidden: true });
    for (const [name, value] of Object.entries({ role: "combobox", "aria-autocomplete": "list", "aria-controls": "suggestions", "aria-expanded": "false" })) input.setAttribute(name, value);
    input.addEventListener("input", () => this.later());
    input.addEventListener("keydown", (event) => this.keyed(event));
    input.addEventListener("blur", () => this.close());
  }

  word() {
    const { value, selectionStart } = this.input;
    return selectionStart === value.length ? (/(?:[^\s"]|"[^"]*"?)+$/.exec(value)?.[0] ?? "") : "";
  }

  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ask(), WAIT_MS);
  }

  async ask() {
    this.asking.abort();
    this.asking = new AbortController();
    const word = this.word();
    if (!word || /[()[\]]/.test(word)) return this.close();
    try {
      const found = await choicesFor(word, this.dataset, this.asking.signal);
      if (word === this.word() && document.activeElement === this.input) this.show(found);
    } catch (error) {
      if (error.name !== "AbortError") this.close(); // suggestions are a help, and no reason to say what failed
    }
  }

  show(choices) {
    this.choices = choices;
    this.at = -1;
    const items = choices.map(([, shown, count], index) =>
      h("li", { role: "option", id: `suggestion-${index}`, "aria-selected": "false", onpointerdown: (event) => (event.preventDefault(), this.pick(index)) }, h("span", { class: "clip" }, text(shown, 120)), count !== null && h("span", { class: "dim end" }, short(count))),
    );
    replace(this.box, items);
    this.box.hidden = !choices.length;
    this.input.setAttribute("aria-expanded", String(choices.length > 0));
    this.input.removeAttribute("aria-activedescendant");
  }

  close() {
    clearTimeout(this.timer);
    this.asking.abort();
    this.show([]);
  }

  move(by) {
    const { children } = this.box;
    children[this.at]?.setAttribute("aria-selected", "false");
    this.at = (this.at + by + this.choices.length + (this.at < 0 && by < 0 ? 1 : 0)) % this.choices.length;
    children[this.at].setAttribute("aria-selected", "true");
    children[this.at].scrollIntoView({ block: "nearest" });
    this.input.setAttribute("aria-activedescendant", `suggestion-${this.at}`);
  }

  pick(index) {
    const [term] = this.choices[index];
    const word = this.word();
    this.input.value = this.input.value.slice(0, this.input.value.length - word.length) + (term.endsWith(":") ? term : "");
    this.close();
    if (term.endsWith(":")) this.later();
    else this.accept(term);
  }

  // Keys of the list come before those of the field.
  keyed(event) {
    if (!this.choices.length) return;
    const moves = { ArrowDown: () => this.move(1), ArrowUp: () => this.move(-1), Escape: () => this.close(), Enter: () => this.pick(this.at), Tab: () => this.pick(this.at) };
    if (!moves[event.key] || (["Enter", "Tab"].includes(event.key) && this.at < 0)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    moves[event.key]();
  }
}
