// One event of an issue: understand it, decide, hand it over. The failing line is above the fold.
import { button, h, replace } from "../../dom/elements.js";
import { plural, short } from "../../dom/format.js";
import { mark } from "../../dom/marks.js";
import { sparkline } from "../../dom/sparkline.js";
import { plain, text } from "../../dom/text.js";
import { ago } from "../../dom/times.js";
import { get } from "../../shell/api.js";
import { copyButton } from "../../shell/dialogs.js";
import { change, go } from "../../shell/router.js";
import { api, path, projectApi, whyNot } from "../../shell/session.js";
import { failure, loadingRows } from "../../shell/states.js";
import { changeIssues } from "../issues/changes.js";
import { titleOf } from "../issues/row.js";
import { attachments } from "./attachments.js";
import { chain, countOurs, threads } from "./frames.js";
import { eventMarkdown } from "./markdown.js";
import { breadcrumbs, card, changedOnArrival, contexts, packagesCard, pairs, requestCard, thisEvent } from "./sections.js";
import { traceCard } from "./trace_strip.js";

const SHARED_TAGS = ["release", "environment", "server_name"];
const STATUS = { resolved: ["ok", "Resolved"], ignored: ["", "Archived"], unresolved: ["error", "Unresolved"] };

const entry = (event, type) => event.entries?.find((one) => one.type === type)?.data;

export function open(place) {
  const node = h("div", { class: "view" });
  let asking = new AbortController();
  let issueId = "";
  let issue = null;
  let event = null;
  let state = null;

  async function load(next) {
    const [, , , id, , eventId = "latest"] = next.parts;
    asking.abort(); // an earlier event's answer may not come last
    asking = new AbortController();
    const signal = { signal: asking.signal };
    const of = api(`/issues/${encodeURIComponent(id)}/`);
    if (!node.hasChildNodes()) setTimeout(() => node.hasChildNodes() || replace(node, loadingRows(6)), 150);
    try {
      const isOther = id !== issueId;
      const wanted = [get(`${of}events/${encodeURIComponent(eventId)}/`, null, signal)];
      if (isOther) wanted.push(get(of, null, signal));
      const [found, ofIssue] = await Promise.all(wanted);
      event = found;
      issue = ofIssue ?? issue;
      issueId = id;
      await draw(next);
    } catch (error) {
      if (error.name !== "AbortError") replace(node, missing(error, id, next));
    }
  }

  function missing(error, id, next) {
    document.title = "Not found · Issues · axonpush";
    const back = h("nav", { class: "small dim path", "aria-label": "Breadcrumb" }, h("a", { href: path("/issues/") }, "Issues"));
    const isEvent = error.status === 404 && error.message.startsWith("event");
    const newest = isEvent && h("p", null, h("a", { href: path(`/issues/${encodeURIComponent(id)}/`) }, "Newest event of this issue"));
    return h("div", null, back, h("h1", null, isEvent ? "This event is not here" : "This issue cannot be shown"), h("div", { class: "card" }, failure(error, () => load(next)), newest));
  }

  async function draw(next) {
    const [kind, message] = titleOf(issue);
    document.title = `${plain(kind, 80)} · ${issue.shortId} · axonpush`;
    const exceptions = entry(event, "exception")?.values ?? [];
    const crumbs = entry(event, "breadcrumbs")?.values ?? [];
    const main = h("div", { class: "stack" });
    const files = h("div", { class: "files" });
    const aside = h("aside", { class: "stack", "aria-label": "About this event" });
    replace(node, header(exceptions, crumbs, kind, message), h("div", { class: "cols" }, main, aside));
    if (next.query.get("raw") === "1") {
      replace(main, await rawCard());
    } else {
      const request = entry(event, "request");
      const threadValues = exceptions.length ? [] : (entry(event, "threads")?.values ?? []);
      replace(main, stack(exceptions, next), threads(threadValues), crumbs.length > 0 && breadcrumbs(crumbs, event, [kind, message].filter(Boolean).join(": ")), request && requestCard(request), files, contexts(event), packagesCard(event), changedOnArrival(event));
    }
    const { trace_id: trace, span_id: spanId } = event.contexts?.trace ?? {};
    replace(aside, thisEvent(event, () => change({ raw: next.query.get("raw") === "1" ? "" : "1" })), typeof trace === "string" && /^[0-9a-f-]{32,36}$/i.test(trace) && traceCard(trace, typeof spanId === "string" ? spanId : "", asking.signal));
    shared(aside);
    attachments(files, issue.project.slug, event.eventID, asking.signal);
  }

  function header(exceptions, crumbs, kind, message) {
    const place = issue.metadata?.filename ? `${issue.metadata.function ?? ""}${issue.metadata.function ? " in " : ""}${issue.metadata.filename}` : issue.culprit;
    const fact = (name, shown, wide) => h("div", null, h("dt", null, name), " ", h("dd", null, shown, wide && h("span", { class: "wide" }, wide)));
    const first = issue.firstRelease?.version;
    state = h("span", { class: "badge" });
    showState(issue.status);
    const why = whyNot("event:write");
    const title = exceptions.length ? [kind, message] : [issue.title, ""];
    const acts = h(
      "div",
      { class: "row wrap acts" },
      button(issue.status === "unresolved" ? "Resolve" : "Open again", () => apply(issue.status === "unresolved" ? "resolved" : "unresolved"), { kind: "main", key: "e", why }),
      button("Archive", () => apply("ignored"), { key: "a", why }),
      copyButton("Copy as Markdown", () => eventMarkdown(issue, event, exceptions, crumbs), { kind: "", key: "c", id: "copy-markdown" }),
    );
    return [
      h("nav", { class: "small dim path", "aria-label": "Breadcrumb" }, h("a", { href: path("/issues/") }, "Issues"), " / ", h("span", { "aria-current": "page" }, issue.shortId)),
      h(
        "div",
        { class: "hd" },
        h("div", { class: "one" }, h("div", { class: "row wrap" }, h("h1", null, mark(issue.level), text(title[0], 400)), state), title[1] && h("p", { class: "msg" }, text(title[1], 2000)), place && h("p", { class: "small mono dim clip" }, text(place, 300))),
        h(
          "div",
          { class: "row wrap" },
          h("dl", { class: "facts" }, fact("Events", short(Number(issue.count))), fact("Users", issue.userCount ? short(issue.userCount) : "none"), fact("Last seen", ago(issue.lastSeen)), fact("First seen", ago(issue.firstSeen), first && [" in ", text(first, 40)])),
          h("span", { class: "wide" }, sparkline((issue.stats?.["24h"] ?? []).map(([, times]) => times), "24 hours")),
        ),
        acts,
      ),
    ];
  }

  function showState(status) {
    const [kind, words] = STATUS[status] ?? ["", status];
    state.className = `badge ${kind}`;
    state.textContent = status === "unresolved" && issue.substatus === "regressed" ? "Came back" : words;
  }

  function stack(exceptions, next) {
    const ofThrown = exceptions.at(-1)?.stacktrace?.frames ?? [];
    const note = ofThrown.length ? `raised first; ${countOurs(ofThrown)} of ${plural(ofThrown.length, "frame")} are yours` : "";
    const step = (words, label, id) => button(words, () => go(eventPath(id)), { kind: "low", "aria-label": label, why: id ? "" : "there is none" });
    const where = event.nextEventID ? (event.previousEventID ? `one of ${short(Number(issue.count))}` : `first of ${short(Number(issue.count))}`) : `newest of ${short(Number(issue.count))}`;
    const paging = [step("‹ Older", "Older event", event.previousEventID), h("span", { class: "small nowrap wide" }, where), step("Newer ›", "Newer event", event.nextEventID)];
    const said = entry(event, "message")?.formatted;
    const content = exceptions.length ? chain(exceptions, { all: next.query.get("frames") === "all" }) : h("div", { class: "sheet mono" }, said ? text(said, 20000) : h("span", { class: "dim" }, "No stack trace and no message were sent."));
    const all = ofThrown.length > 20 && next.query.get("frames") !== "all" && button("All frames", () => change({ frames: "all" }), { kind: "low quiet" });
    return card(exceptions.length ? "Stack trace" : "Message", "stack-trace", content, { note: h("span", { class: "wide" }, note), side: [all, paging] });
  }

  const eventPath = (id) => path(`/issues/${encodeURIComponent(issueId)}/events/${encodeURIComponent(id)}/`);

  async function rawCard() {
    const project = issue.project.slug;
    const sent = await get(projectApi(project, `/events/${encodeURIComponent(event.eventID)}/json/`)).catch(() => event);
    const words = JSON.stringify(sent, null, 2);
    const link = h("a", { class: "btn low", download: `${event.eventID}.json`, href: projectApi(project, `/events/${encodeURIComponent(event.eventID)}/json/`) }, "Download");
    return card("Raw JSON", "raw", h("pre", { class: "raw", tabindex: "0", "aria-label": "Event as JSON" }, text(words, 500000)), { side: [copyButton("Copy", words), link, button("Back", () => change({ raw: "" }), { kind: "low" })] });
  }

  // How the issue's events share some tags; counted when everything else is shown.
  async function shared(aside) {
    const of = api(`/issues/${encodeURIComponent(issueId)}/tags/`);
    const found = await Promise.all(SHARED_TAGS.map((name) => get(`${of}${name}/`, null, { signal: asking.signal }).catch(() => null)));
    const shown = found
      .filter((tag) => tag?.topValues?.length)
      .map((tag) => [tag.key === "server_name" ? "server" : tag.key, tag.topValues.slice(0, 3).map((one) => `${plain(one.value, 60)} ${Math.round((100 * one.count) / tag.totalValues)}%`).join(", ")]);
    if (shown.length) aside.append(card("In this issue", "in-this-issue", pairs(shown)));
  }

  function apply(status) {
    const place_ = { parts: ["", "", "", issueId, "events", event.eventID], query: new URLSearchParams(location.search) };
    changeIssues([issue], status, {
      shown: (one, as) => {
        one.status = as;
        one.substatus = null;
        showState(as);
      },
      again: () => {
        issueId = "";
        load({ ...place_, parts: ["", "", "", issue.id, "events", event.eventID] });
      },
    });
  }

  load(place);
  const may = () => !whyNot("event:write") && issue;
  return {
    node,
    update: load,
    close: () => asking.abort(),
    keys: {
      "[": ["older event", () => event?.previousEventID && go(eventPath(event.previousEventID))],
      "]": ["newer event", () => event?.nextEventID && go(eventPath(event.nextEventID))],
      e: ["resolve, or open again", () => may() && apply(issue.status === "unresolved" ? "resolved" : "unresolved")],
      a: ["archive", () => may() && apply("ignored")],
      c: ["copy as Markdown", () => document.getElementById("copy-markdown")?.click()],
      Escape: ["back to the list", () => go(path("/issues/"))],
    },
  };
}
