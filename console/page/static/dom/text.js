// Texts of senders, made safe to read: each isolated, and characters that hide or turn text shown by their numbers.
import { h } from "./elements.js";

const HIDDEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\u{e0000}-\u{e007f}]/gu;
export const MAX_SHOWN = 8192;

function numberOf(character) {
  return `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
}

// The parts of a text: strings, and elements for hidden characters.
function parts(text) {
  const found = [];
  let begin = 0;
  for (const match of text.matchAll(HIDDEN)) {
    found.push(text.slice(begin, match.index));
    found.push(h("span", { class: "ctl", title: "a character that is not seen or turns text around" }, numberOf(match[0])));
    begin = match.index + match[0].length;
  }
  found.push(text.slice(begin));
  return found;
}

export function asText(value) {
  if (value === null || value === undefined) return "";
  return typeof value === "string" ? value : typeof value === "object" ? JSON.stringify(value) : String(value);
}

// A text of a sender. Longer ones than `most` end with what is left out.
export function text(value, most = MAX_SHOWN) {
  const whole = asText(value);
  const shown = whole.length > most ? whole.slice(0, most) : whole;
  const rest = whole.length - shown.length;
  return h("bdi", null, parts(shown), rest > 0 && h("span", { class: "dim" }, ` … ${rest.toLocaleString("en")} more`));
}

// The same without elements, for copies and titles.
export function plain(value, most = MAX_SHOWN) {
  return asText(value).slice(0, most).replace(HIDDEN, numberOf);
}

// A value of a key-value list: three lines, and the rest on demand.
export function value(given) {
  const whole = asText(given);
  if (whole.length <= 600) return h("dd", { class: "value" }, text(whole));
  const shown = h("span", { class: "three" }, text(whole, 600));
  const more = h("button", { type: "button", class: "btn low quiet" }, `Show all ${whole.length.toLocaleString("en")} characters`);
  more.addEventListener("click", () => {
    shown.className = "every";
    shown.replaceChildren(text(whole, 200000));
    more.remove();
  });
  return h("dd", { class: "value long" }, shown, more);
}
