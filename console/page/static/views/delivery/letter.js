// One dead letter: why, where it comes from, its bytes as text and in hexadecimal.
import { button, h, replace } from "../../dom/elements.js";
import { bytes, whole } from "../../dom/format.js";
import { text } from "../../dom/text.js";
import { moment } from "../../dom/times.js";
import { get } from "../../shell/api.js";
import { copyButton } from "../../shell/dialogs.js";
import { change } from "../../shell/router.js";
import { api, whyNot } from "../../shell/session.js";
import { empty, fill } from "../../shell/states.js";
import { card, pairs } from "../event/sections.js";

const FIXES = [
  [/^row_refused/, "ClickHouse refused the row. Mend the table or upgrade the workers, then retry."],
  [/^invalid/, "The sender's bytes are not what they claim to be. Mend the sender; drop what it sent."],
  [/^normaliser_error/, "A fault of ours. Please report it; retry after an upgrade."],
  [/^poison/, "The worker ended several times while it had this. Please report it; retry after an upgrade."],
  [/^too_costly/, "Processing took longer than is allowed. Retry when it is quiet, or drop it."],
];

export const fixOf = (reason) => FIXES.find(([form]) => form.test(reason))?.[1] ?? "";

function bodyPart(number, body) {
  const link = h("a", { class: "btn low", download: `dead-letter-${number}.bin`, href: api(`/delivery/dead-letters/${number}/bytes/`) }, "Download");
  const size = body.shownBytes < body.sizeBytes ? `first ${bytes(body.shownBytes)} of ${bytes(body.sizeBytes)}` : bytes(body.sizeBytes);
  const asText = h("pre", { class: "raw", tabindex: "0", "aria-label": "Bytes as text" }, text(body.text, 64000));
  const asHex = h("details", { class: "frame", open: !body.isText }, h("summary", null, "In hexadecimal"), h("pre", { class: "raw nowrap-lines", tabindex: "0", "aria-label": "Bytes in hexadecimal" }, body.hex));
  return [
    h("div", { class: "head" }, h("h3", null, "Bytes"), h("p", null, size, body.note && ". ", text(body.note, 300)), h("span", { class: "end row" }, copyButton("Copy", body.text), link)),
    body.isText && asText,
    asHex,
  ];
}

function content(letter) {
  const facts = [["reason", letter.reason], ["why", letter.error], ["what helps", fixOf(letter.reason)], ["project", letter.project], ["worker", letter.stage], ["item type", letter.itemType], ["received", moment(letter.received)], ["times tried", letter.deliveries ? whole(letter.deliveries) : ""], ["key", letter.key]];
  return [
    pairs(facts),
    h("details", { class: "frame" }, h("summary", null, `Headers (${Object.keys(letter.headers).length})`), pairs(Object.entries(letter.headers), { mono: true })),
    bodyPart(letter.number, letter.body),
  ];
}

// `acts` makes the buttons that retry and drop it.
export function letterCard(number, acts) {
  const box = h("div");
  const close = button("Close", () => change({ letter: "" }, { instead: true }), { kind: "low quiet" });
  const mayNot = whyNot("delivery:write");
  if (mayNot) replace(box, empty(mayNot));
  else fill(box, () => get(api(`/delivery/dead-letters/${encodeURIComponent(number)}/`)), content);
  return card(`Dead letter ${number}`, "dead-letter", box, { side: [acts({ numbers: [number] }, 1), close] });
}
