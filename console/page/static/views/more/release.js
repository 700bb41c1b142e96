// One release: facts, commits, deploys, and the issues that began in it.
import { h, replace } from "../../dom/elements.js";
import { plural, short } from "../../dom/format.js";
import { plain, text } from "../../dom/text.js";
import { ago, clock, moment } from "../../dom/times.js";
import { get } from "../../shell/api.js";
import { go } from "../../shell/router.js";
import { api, path } from "../../shell/session.js";
import { empty, failure, loadingRows } from "../../shell/states.js";
import { card } from "../event/sections.js";
import { issueRow } from "../issues/row.js";
import { crashFreeWords, health } from "./releases.js";

export function open(place) {
  const version = place.parts[3];
  const of = api(`/releases/${encodeURIComponent(version)}/`);
  const node = h("div", { class: "view" }, loadingRows(6));
  document.title = `${plain(version, 60)} · Releases · axonpush`;

  async function load() {
    try {
      const [release, commits, deploys] = await Promise.all([get(of), get(`${of}commits/`).catch(() => []), get(`${of}deploys/`).catch(() => [])]);
      draw(release, commits, deploys);
    } catch (error) {
      replace(node, h("h1", null, text(version, 120)), h("div", { class: "card" }, failure(error, load)));
    }
  }

  function draw(release, commits, deploys) {
    const own = health(release);
    const fact = (name, given) => h("div", null, h("dt", null, name), " ", h("dd", null, given));
    const issues = h("div");
    replace(
      node,
      h("nav", { class: "small dim path", "aria-label": "Breadcrumb" }, h("a", { href: path("/releases/") }, "Releases")),
      h("div", { class: "row wrap" }, h("h1", null, text(version, 200))),
      h("dl", { class: "facts lead" }, fact("First event", ago(release.firstEvent)), fact("Last event", ago(release.lastEvent)), fact("Events", short(release.eventCount ?? 0)), fact("Crash-free sessions", crashFreeWords(own.crashFreeSessions, own.totalSessions)), fact("Crash-free users", crashFreeWords(own.crashFreeUsers, own.totalUsers))),
      h("div", { class: "stack" }, card("Issues that began here", "issues", issues), commitsCard(commits), deploysCard(deploys)),
    );
    listIssues(issues);
  }

  async function listIssues(box) {
    try {
      const found = await get(api("/issues/"), { query: `firstRelease:"${version.replace(/["\\]/g, "\\$&")}"`, limit: 25, groupStatsPeriod: "14d" });
      const options = { chart: "14d", now: clock.now(), selected: false, onSelect: () => {} };
      replace(box, found.length ? h("table", { class: "list issues plain", role: "table", "aria-label": "Issues of this release" }, h("tbody", { role: "rowgroup" }, found.map((issue) => issueRow(issue, options)))) : empty("No issue began in this release."));
    } catch (error) {
      replace(box, failure(error, () => listIssues(box)));
    }
  }

  load();
  return { node, keys: { Escape: ["back to the list", () => go(path("/releases/"))] } };
}

function commitsCard(commits) {
  if (!commits.length) return null;
  const rows = commits.slice(0, 100).map((commit) => [h("dt", { class: "mono" }, text(String(commit.id ?? "").slice(0, 10))), h("dd", null, text(String(commit.message ?? "").split("\n")[0], 200), h("span", { class: "dim" }, " ", text(commit.author?.name, 60)))]);
  return card(plural(commits.length, "commit"), "commits", h("dl", { class: "kv" }, rows));
}

function deploysCard(deploys) {
  if (!deploys.length) return null;
  const rows = deploys.slice(0, 50).map((deploy) => [h("dt", null, text(deploy.environment, 60)), h("dd", null, moment(deploy.dateFinished ?? deploy.dateStarted))]);
  return card(plural(deploys.length, "deploy"), "deploys", h("dl", { class: "kv" }, rows));
}
