// Releases: what each brought, and how free of crashes it is.
import { button, h, replace, svg } from "../../dom/elements.js";
import { crashFree, short } from "../../dom/format.js";
import { cell, row as tableRow, table as tableOf } from "../../dom/table.js";
import { text } from "../../dom/text.js";
import { ago } from "../../dom/times.js";
import { page } from "../../shell/api.js";
import { copyButton } from "../../shell/dialogs.js";
import { change } from "../../shell/router.js";
import { api, path } from "../../shell/session.js";
import { fill } from "../../shell/states.js";

const ENOUGH_SESSIONS = 100;

// Of the chosen project, else of all projects together.
export function health(release, project = "") {
  const chosen = project && release.projects?.find(({ slug, id }) => slug === project || String(id) === project);
  return (project ? chosen?.healthData : release.healthData) ?? {};
}

// The newest of the older releases that is of the same projects: others say nothing about a change.
export function before(releases, index, project = "") {
  const projects = (release) => (project ? "" : (release.projects ?? []).map(({ id }) => id).sort().join());
  return releases.slice(index + 1).find((other) => projects(other) === projects(releases[index]));
}

export function crashFreeWords(share, sessions, before) {
  if (!sessions) return h("span", { class: "dim" }, "no sessions");
  if (sessions < ENOUGH_SESSIONS) return h("span", { class: "dim" }, `too few sessions (${sessions})`);
  const change_ = before === undefined || before === null ? 0 : share - before;
  const arrow = Math.abs(change_) >= 0.01 && h("span", { class: "small dim2" }, ` ${change_ < 0 ? "▼" : "▲"}${Math.abs(change_).toFixed(2)}`);
  return h("span", null, crashFree(share), arrow);
}

// The share of the sessions of the last day.
function adoptionMeter(share) {
  if (share === null || share === undefined) return h("span", { class: "dim" }, "none");
  const meter = svg("svg", { class: "meter short", "aria-hidden": "true" }, svg("rect", { class: "all", width: "100%", height: 6, rx: 3 }), svg("rect", { width: `${share}%`, height: 6, rx: 3 }));
  return [meter, ` ${share.toFixed(1)}%`];
}

function row(release, older, project) {
  const [own, past] = [health(release, project), older ? health(older, project) : {}];
  return tableRow(
    cell({ class: "first" }, h("a", { class: "mono", href: path(`/releases/${encodeURIComponent(release.version)}/`) }, text(release.version, 120)), release.status === "archived" && h("span", { class: "badge" }, "archived")),
    cell({ class: "num", "data-l": "first event" }, ago(release.firstEvent ?? release.dateCreated)),
    cell({ class: "num wide" }, adoptionMeter(release.adoption)),
    cell({ class: "num wide" }, crashFreeWords(own.crashFreeSessions, own.totalSessions, past.crashFreeSessions)),
    cell({ class: "num wide" }, crashFreeWords(own.crashFreeUsers, own.totalUsers, past.crashFreeUsers)),
    cell({ class: "num", "data-l": "new issues" }, release.newGroups ? h("a", { href: path("/issues/", { query: `firstRelease:"${release.version.replace(/"/g, "")}"`, statsPeriod: "90d" }) }, short(release.newGroups)) : "0"),
    cell({ class: "num wide" }, short(release.eventCount ?? 0)),
  );
}

export function open(place) {
  document.title = "Releases · axonpush";
  const table = h("div", { class: "card" });
  const foot = h("div", { class: "row foot" });
  let query = place.query;
  const read = () => page(api("/releases/"), { project: query.get("project"), cursor: query.get("cursor"), limit: 25, adoption: 1 });
  const draw = ({ entries, cursor }) => {
    const project = query.get("project") ?? "";
    replace(foot, h("span", { class: "end row" }, query.get("cursor") && button("Newer", () => change({ cursor: cursor.previous }), { kind: "low" }), cursor.next && button("Older", () => change({ cursor: cursor.next }), { kind: "low" })));
    if (!entries.length) {
      const line = `SENTRY_URL=${location.origin} sentry-cli releases new "$VERSION"`;
      return h("div", { class: "nothing" }, h("p", null, "No release is known yet. One appears with its first event, or when a tool makes it:"), h("pre", { class: "snippet", tabindex: "0" }, line, copyButton("Copy", line)));
    }
    const heads = [["Release", ""], ["first event", "num"], ["adoption 24 h", "num wide"], ["crash-free sessions", "num wide"], ["crash-free users", "num wide"], ["new issues", "num"], ["events", "num wide"]];
    return tableOf("Releases, the newest first", heads, entries.map((release, index) => row(release, before(entries, index, project), project)));
  };
  fill(table, read, draw);
  return {
    node: h("div", { class: "view" }, h("div", { class: "row wrap lead" }, h("h1", null, "Releases")), table, foot),
    update(next) {
      query = next.query;
      fill(table, read, draw);
    },
  };
}
