// The filter bar: known `key:value` terms become tokens, the rest is text. Its state is the query of the address.
import { h, replace } from "../../dom/elements.js";
import { text } from "../../dom/text.js";
import { choiceMenu } from "../../shell/menu.js";
import { change } from "../../shell/router.js";
import { Suggestions } from "./suggest.js";

const TERM = /^!?[\w.@-]+(?:\[[^\]\s]*\])?:(?:"[^"]*"|\[[^\]]*\]|[^\s"[\]()]+)$/;
const SPLIT = /(?:[^\s"[\]]+|"[^"]*"|\[[^\]]*\])+/g;

// Terms that can stand as tokens, and what is left as text. A query with OR or brackets stays one text.
export function parts(query) {
  if (/(^|\s)OR(\s|$)|[()]/.test(query)) return { terms: [], rest: query };
  const words = query.match(SPLIT) ?? [];
  const terms = words.filter((word) => TERM.test(word));
  return { terms, rest: words.filter((word) => !TERM.test(word)).join(" ") };
}

// The terms before the field. `edit` gets the index of one that is pressed.
class Tokens {
  constructor(terms, edit) {
    this.terms = [...terms];
    this.edit = edit;
    this.marked = false;
    this.box = h("span", { class: "tokens" });
    this.draw();
  }

  draw() {
    replace(this.box, this.terms.map((term, index) => this.button(term, index)));
  }

  button(term, index) {
    const [, key, given] = /^(.*?:)(.*)$/s.exec(term);
    const kind = this.marked && index === this.terms.length - 1 ? "token marked" : "token";
    return h("button", { type: "button", class: kind, title: "Change this term", "aria-label": `Change ${term}`, onclick: () => this.edit(index) }, h("i", null, text(key, 80)), text(given, 120));
  }

  add(term) {
    this.terms.push(term);
    this.marked = false;
    this.draw();
  }

  take(index) {
    const [term] = this.terms.splice(index, 1);
    this.draw();
    return term;
  }

  // The first time marks the last term, the second takes it away.
  backspace() {
    if (this.marked) this.terms.pop();
    this.marked = !this.marked;
    this.draw();
  }
}

function keyed(event, input, tokens, rest) {
  if (event.key === "Backspace" && !input.value && tokens.terms.length) return tokens.backspace();
  tokens.marked = false;
  if (event.key === "Escape") {
    if (input.value && input.value !== rest) input.value = rest;
    else input.blur();
  }
  if (event.key === " " && TERM.test(input.value.trim()) && input.selectionStart === input.value.length) {
    event.preventDefault();
    tokens.add(input.value.trim());
    input.value = "";
  }
  return undefined;
}

function fieldOf(label, placeholder, rest) {
  return h("input", { "aria-label": label, placeholder, value: rest, spellcheck: "false", autocomplete: "off", enterkeyhint: "search", "aria-describedby": "query-problem" });
}

// `periods` are choices of statsPeriod; `more` stands behind them. `dataset` is where suggestions come from.
export function filterBar({ query, label, placeholder, periods, period, more = [], dataset = "errors" }) {
  const { terms, rest } = parts(query);
  const input = fieldOf(label, placeholder, rest);
  const edit = (index) => {
    const term = tokens.take(index);
    input.value = [term, input.value].filter(Boolean).join(" ");
    input.focus();
    input.setSelectionRange(term.indexOf(":") + 1, term.length);
  };
  const tokens = new Tokens(terms, edit);
  const suggestions = new Suggestions(input, dataset, (term) => tokens.add(term));
  input.addEventListener("keydown", (event) => keyed(event, input, tokens, rest));
  const time = choiceMenu("Time", periods, period, (value) => change({ statsPeriod: value === periods.at(0)[0] ? "" : value }));
  const form = h("form", { class: "filter", role: "search" }, h("div", { class: "query" }, tokens.box, input, h("kbd", { class: "wide", "aria-hidden": "true" }, "/"), suggestions.box), time, more);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const { terms: fresh, rest: words } = parts(input.value);
    const all = [...tokens.terms, ...fresh, words].filter(Boolean).join(" ");
    change({ query: all || (query ? "*" : "") });
  });
  form.problem = h("p", { class: "problem", id: "query-problem", role: "alert" });
  form.fail = (words) => {
    form.problem.textContent = words;
    input.setAttribute("aria-invalid", "true");
  };
  return form;
}
