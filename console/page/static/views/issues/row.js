// One issue as a row of the list; on a phone the same cells are a card.
import { h } from "../../dom/elements.js";
import { plural, short, whole } from "../../dom/format.js";
import { mark } from "../../dom/marks.js";
import { sparkline } from "../../dom/sparkline.js";
import { plain, text } from "../../dom/text.js";
import { ago, exact } from "../../dom/times.js";
import { path } from "../../shell/session.js";

const DAY_MS = 86400000;
const PERIOD_WORDS = { "24h": "24 hours", "14d": "14 days", "30d": "30 days" };

// Type and message: errors have both, everything else a title.
export function titleOf(issue) {
  const { type, value } = issue.metadata ?? {};
  return type ? [type, value ?? ""] : [issue.title, ""];
}

function badge(issue, now) {
  if (issue.status === "resolved") {
    const release = issue.statusDetails?.inRelease;
    return h("span", { class: "badge ok" }, release ? `resolved in ${plain(release, 40)}` : "resolved");
  }
  if (issue.status === "ignored") return h("span", { class: "badge" }, "archived");
  if (issue.substatus === "regressed") return h("span", { class: "badge warn" }, "came back");
  if (now - Date.parse(issue.firstSeen) < DAY_MS) return h("span", { class: "badge new" }, "new");
  return null;
}

function number(count) {
  return h("span", { title: count >= 100000 ? whole(count) : null }, short(count));
}

function placeOf(issue) {
  const { filename, function: name } = issue.metadata ?? {};
  if (filename) return name ? `${filename} in ${name}` : filename;
  return issue.culprit;
}

export function issueRow(issue, { chart, now, selected, onSelect }) {
  const [kind, message] = titleOf(issue);
  const address = path(`/issues/${issue.id}/`);
  const count = Number(issue.count);
  const box = h("input", { type: "checkbox", "aria-label": `Select ${issue.shortId}`, onclick: (event) => onSelect(issue, event) });
  box.checked = selected;
  const cell = (attributes, ...children) => h("td", { role: "cell", ...attributes }, children);
  const row = h(
    "tr",
    { role: "row", "data-id": issue.id, class: selected ? "chosen" : null },
    cell(null, box),
    cell(
      { class: "t" },
      h("a", { class: "title", href: address }, mark(issue.level), h("b", { class: message ? null : "clip" }, text(kind, 200)), message && [" ", h("span", { class: "clip" }, text(message, 400))]),
      h("div", { class: "sub" }, h("span", { class: "mono clip" }, text(placeOf(issue), 200)), h("span", { class: "wide" }, issue.shortId), badge(issue, now)),
    ),
    cell({ class: "phone meta" }, `${plural(count, "time")}${issue.userCount ? `, ${plural(issue.userCount, "user")}` : ""}, `, ago(issue.lastSeen)),
    cell(null, sparkline((issue.stats?.[chart] ?? []).map(([, times]) => times), PERIOD_WORDS[chart])),
    cell({ class: "num wide" }, number(count)),
    cell({ class: "num wide" }, issue.userCount ? number(issue.userCount) : h("span", { class: "dim" }, "none")),
    cell({ class: "num wide" }, ago(issue.lastSeen)),
    cell({ class: "num wide dim2", title: exact(issue.firstSeen) }, ago(issue.firstSeen)),
  );
  row.issue = issue;
  return row;
}
