// Requests that were never accepted, and who can mend it.
import { h } from "../../dom/elements.js";
import { short } from "../../dom/format.js";
import { cell, row, table } from "../../dom/table.js";
import { text } from "../../dom/text.js";
import { ago } from "../../dom/times.js";
import { card } from "../event/sections.js";

const ADVICE = [
  [/^429:quota/, "Raise the quota of the key, or have the SDK sample"],
  [/^429/, "The sender sends more than it may; it hears when to try again"],
  [/^401:revoked/, "The key was revoked; give the sender another one"],
  [/^401/, "The key is mistyped, or of another installation"],
  [/^403:origin|^403.*origin/, "The web page's origin is not allowed for this key"],
  [/^403/, "The key may not send to this channel"],
  [/^404/, "There is no such channel: the DSN ends with a wrong number"],
  [/^413/, "Attachments are too large; send them apart"],
  [/^415/, "The sender uses an encoding or media type that is not read here"],
  [/^400/, "The sender's bytes are not what its media type says"],
  [/^503/, "Ours: the broker was full or away; senders try again"],
];

const advice = (reason) => ADVICE.find(([form]) => form.test(reason))?.[1] ?? "";

export function refusalsCard(refusals) {
  const rows = refusals.map((one) => {
    const [status, ...words] = one.reason.split(":");
    return row(
      cell(null, h("b", null, text(status, 10)), " ", text(words.join(":").replaceAll("_", " "), 80), h("br"), h("span", { class: "small dim" }, text(one.key ? `key ${one.key}` : one.sender, 80), one.project && [", ", text(one.project, 60)])),
      cell({ class: "num" }, short(one.requests), h("br"), h("span", { class: "small dim" }, ago(one.last))),
      cell({ class: "full dim2" }, advice(one.reason)),
    );
  });
  const content = rows.length ? table("Refused requests", [["Answer and key", ""], ["Times", "num"], ["What to do", ""]], rows) : h("p", { class: "sheet small dim2" }, "Nothing was refused in this time.");
  return card("Refused", "refused", content, { note: "never accepted; the sender was told why" });
}
