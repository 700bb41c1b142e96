// An event as Markdown for a ticket or an assistant: under 8 kB, cleaned like everything that is shown.
import { asText, plain } from "../../dom/text.js";
import { titleOf } from "../issues/row.js";
import { placeOf } from "./frames.js";

const MOST = 8000;
const FRAMES = 8;
const CRUMBS = 10;

const line = (given, most = 300) => plain(given, most).replace(/\s+/g, " ").trim();
// Longer than every run of backticks in the text, so that the text cannot end the block.
const fence = (text) => "`".repeat(Math.max(3, ...[...text.matchAll(/`+/g)].map((run) => run[0].length + 1)));

function block(text) {
  const marks = fence(text);
  return `${marks}\n${text}\n${marks}`;
}

function frameText(frame) {
  const head = `${line(frame.function, 120) || "(no name)"} in ${line(placeOf(frame), 200)}${frame.lineNo ? `:${line(frame.lineNo, 20)}` : ""}`;
  const lines = frame.context ?? [];
  const hit = lines.findIndex(([number]) => number === frame.lineNo);
  const around = hit < 0 ? [] : lines.slice(Math.max(0, hit - 2), hit + 3);
  const code = around.map(([number, text]) => `${number === frame.lineNo ? ">" : " "} ${number}  ${plain(text, 200)}`);
  return [head, ...code].join("\n");
}

export function eventMarkdown(issue, event, exceptions, crumbs) {
  const [kind, message] = titleOf(issue);
  const tags = event.tags.map(({ key, value }) => `${line(key, 60)}=${line(value, 100)}`);
  const facts = [issue.shortId, `${issue.count} events`, `${issue.userCount} users`, event.release?.version && `release ${line(event.release.version, 80)}`, `event ${event.eventID}`, event.dateCreated];
  const parts = [`# ${line(kind, 200)}${message ? `: ${line(message, 400)}` : ""}`, facts.filter(Boolean).join(", "), location.origin + location.pathname];
  [...exceptions].reverse().forEach((exception, index) => {
    const frames = [...(exception.stacktrace?.frames ?? [])].reverse();
    const ours = frames.filter((frame) => frame.inApp);
    if (index) parts.push(`Caused by ${line(exception.type)}: ${line(exception.value, 400)}`);
    const shown = (ours.length ? ours : frames).slice(0, FRAMES);
    if (shown.length) parts.push(block(shown.map(frameText).join("\n")));
  });
  if (crumbs.length) parts.push("Before:", block(crumbs.slice(-CRUMBS).map((crumb) => line(`${asText(crumb.category)} ${asText(crumb.message ?? crumb.data)}`, 200)).join("\n")));
  if (tags.length) parts.push(`Tags: ${tags.slice(0, 30).join(", ")}`);
  const whole = parts.join("\n\n");
  return whole.length > MOST ? `${whole.slice(0, MOST)}\n…` : whole;
}
