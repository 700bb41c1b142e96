// The filter bar: known `key:value` terms become tokens, the rest is text. Its state is the query of the address.
import { h, replace } from "../../dom/elements.js";
import { text } from "../../dom/text.js";
import { change } from "../../shell/router.js";
import { choiceMenu } from "../../shell/menu.js";

const TERM = /^!?[\w.@-]+(?:\[[^\]\s]*\])?:(?:"[^"]*"|\[[^\]]*\]|[^\s"[\]()]+)$/;
const SPLIT = /(?:[^\s"[\]]+|"[^"]*"|\[[^\]]*\])+/g;

// Terms that can stand as tokens, and what is left as text. A query with OR or brackets stays one text.
export function parts(query) {
  if (/(^|\s)OR(\s|$)|[()]/.test(query)) return { terms: [], rest: query };
  const words = query.match(SPLIT) ?? [];
  const terms = words.filter((word) => TERM.test(word));
  return { terms, rest: words.filter((word) => !TERM.test(word)).join(" ") };
}

// `periods` are choices of statsPeriod; `more` stands behind them.
export function filterBar({ query, label, placeholder, periods, period, more = [] }) {
  const { terms, rest } = parts(query);
  const tokens = h("span", { class: "tokens" });
  const input = h("input", { "aria-label": label, placeholder, value: rest, spellcheck: "false", autocomplete: "off", enterkeyhint: "search", "aria-describedby": "query-problem" });
  const problem = h("p", { class: "problem", id: "query-problem", role: "alert" });
  let current = [...terms];
  let marked = false;

  const draw = () => {
    replace(
      tokens,
      current.map((term, index) => {
        const [, key, given] = /^(.*?:)(.*)$/s.exec(term);
        return h(
          "button",
          { type: "button", class: `token${marked && index === current.length - 1 ? " marked" : ""}`, title: "Change this term", "aria-label": `Change ${term}`, onclick: () => edit(index) },
          h("i", null, text(key, 80)),
          text(given, 120),
        );
      }),
    );
  };
  const submit = () => {
    const { terms: fresh, rest: words } = parts(input.value);
    const all = [...current, ...fresh, words].filter(Boolean).join(" ");
    change({ query: all || (query ? "*" : "") });
  };
  const edit = (index) => {
    const [term] = current.splice(index, 1);
    input.value = [term, input.value].filter(Boolean).join(" ");
    draw();
    input.focus();
    input.setSelectionRange(term.indexOf(":") + 1, term.length);
  };
  input.addEventListener("keydown", (event) => {
    if (event.key === "Backspace" && !input.value && current.length) {
      if (marked) current.pop();
      marked = !marked;
      draw();
      return;
    }
    marked = false;
    if (event.key === "Escape") {
      if (input.value && input.value !== rest) input.value = rest;
      else input.blur();
    }
    if (event.key === " " && TERM.test(input.value.trim()) && input.selectionStart === input.value.length) {
      event.preventDefault();
      current.push(input.value.trim());
      input.value = "";
      draw();
    }
  });
  draw();
  const form = h(
    "form",
    { class: "filter", role: "search" },
    h("div", { class: "query" }, tokens, input, h("kbd", { class: "wide", "aria-hidden": "true" }, "/")),
    choiceMenu("Time", periods, period, (value) => change({ statsPeriod: value === periods.at(0)[0] ? "" : value })),
    more,
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  form.problem = problem;
  form.fail = (words) => {
    problem.textContent = words;
    input.setAttribute("aria-invalid", "true");
  };
  return form;
}
