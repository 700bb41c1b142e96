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

const MANY_FRAMES = 20;
const isTraceId = (text) => typeof text === "string" && /^[0-9a-f-]{32,36}$/i.test(text);
const crumbTrail = (last) => h("nav", { class: "small dim path", "aria-label": "Breadcrumb" }, h("a", { href: path("/issues/") }, "Issues"), last && [" / ", h("span", { "aria-current": "page" }, last)]);

function facts(issue) {
  const fact = (name, shown, wide) => h("div", null, h("dt", null, name), " ", h("dd", null, shown, wide && h("span", { class: "wide" }, wide)));
  const first = issue.firstRelease?.version;
  return h("dl", { class: "facts" }, fact("Events", short(Number(issue.count))), fact("Users", issue.userCount ? short(issue.userCount) : "none"), fact("Last seen", ago(issue.lastSeen)), fact("First seen", ago(issue.firstSeen), first && [" in ", text(first, 40)]));
}

function placeOfIssue({ metadata, culprit }) {
  return metadata?.filename ? `${metadata.function ? `${metadata.function} in ` : ""}${metadata.filename}` : culprit;
}

function whereAmong(event, issue) {
  const count = short(Number(issue.count));
  if (!event.nextEventID) return `newest of ${count}`;
  return event.previousEventID ? `one of ${count}` : `first of ${count}`;
}

class EventView {
  constructor() {
    this.node = h("div", { class: "view" });
    this.asking = new AbortController();
    this.issueId = "";
    this.issue = null;
    this.event = null;
  }

  async load(next) {
    const [, , , id, , eventId = "latest"] = next.parts;
    this.asking.abort(); // an earlier event's answer may not come last
    this.asking = new AbortController();
    const signal = { signal: this.asking.signal };
    const { node } = this;
    const of = api(`/issues/${encodeURIComponent(id)}/`);
    if (!node.hasChildNodes()) setTimeout(() => node.hasChildNodes() || replace(node, loadingRows(6)), 150);
    try {
      const wanted = [get(`${of}events/${encodeURIComponent(eventId)}/`, null, signal)];
      if (id !== this.issueId) wanted.push(get(of, null, signal));
      const [found, ofIssue] = await Promise.all(wanted);
      this.event = found;
      this.issue = ofIssue ?? this.issue;
      this.issueId = id;
      await this.draw(next);
    } catch (error) {
      if (error.name !== "AbortError") replace(node, this.missing(error, id, next));
    }
  }

  missing(error, id, next) {
    document.title = "Not found · Issues · axonpush";
    const isEvent = error.status === 404 && error.message.startsWith("event");
    const newest = isEvent && h("p", null, h("a", { href: path(`/issues/${encodeURIComponent(id)}/`) }, "Newest event of this issue"));
    return h("div", null, crumbTrail(), h("h1", null, isEvent ? "This event is not here" : "This issue cannot be shown"), h("div", { class: "card" }, failure(error, () => this.load(next)), newest));
  }

  // --- drawing

  async draw(next) {
    const { event, issue } = this;
    const [kind, message] = titleOf(issue);
    document.title = `${plain(kind, 80)} · ${issue.shortId} · axonpush`;
    const isRaw = next.query.get("raw") === "1";
    const main = h("div", { class: "stack" });
    const files = h("div", { class: "files" });
    const aside = h("aside", { class: "stack", "aria-label": "About this event" });
    replace(this.node, this.header(kind, message), h("div", { class: "cols" }, main, aside));
    replace(main, isRaw ? await this.rawCard() : this.sections(next, [kind, message].filter(Boolean).join(": "), files));
    const { trace_id: trace, span_id: spanId } = event.contexts?.trace ?? {};
    const ofTrace = isTraceId(trace) && traceCard(trace, typeof spanId === "string" ? spanId : "", this.asking.signal);
    replace(aside, thisEvent(event, () => change({ raw: isRaw ? "" : "1" })), ofTrace);
    this.shared(aside);
    attachments(files, issue.project.slug, event.eventID, this.asking.signal);
  }

  exceptions() {
    return entry(this.event, "exception")?.values ?? [];
  }

  crumbs() {
    return entry(this.event, "breadcrumbs")?.values ?? [];
  }

  // What was not sent is left out.
  sections(next, raised, files) {
    const { event } = this;
    const request = entry(event, "request");
    const threadValues = this.exceptions().length ? [] : (entry(event, "threads")?.values ?? []);
    const crumbs = this.crumbs();
    return [this.stack(next), threads(threadValues), crumbs.length > 0 && breadcrumbs(crumbs, event, raised), request && requestCard(request), files, contexts(event), packagesCard(event), changedOnArrival(event)];
  }

  header(kind, message) {
    const { issue } = this;
    const [title, words] = this.exceptions().length ? [kind, message] : [issue.title, ""];
    const place = placeOfIssue(issue);
    this.state = h("span", { class: "badge" });
    this.showState(issue.status);
    const one = h("div", { class: "one" }, h("div", { class: "row wrap" }, h("h1", null, mark(issue.level), text(title, 400)), this.state), words && h("p", { class: "msg" }, text(words, 2000)), place && h("p", { class: "small mono dim clip" }, text(place, 300)));
    const chart = h("span", { class: "wide" }, sparkline((issue.stats?.["24h"] ?? []).map(([, times]) => times), "24 hours"));
    return [crumbTrail(issue.shortId), h("div", { class: "hd" }, one, h("div", { class: "row wrap" }, facts(issue), chart), this.acts())];
  }

  acts() {
    const why = whyNot("event:write");
    const isOpen = this.issue.status === "unresolved";
    return h(
      "div",
      { class: "row wrap acts" },
      button(isOpen ? "Resolve" : "Open again", () => this.apply(isOpen ? "resolved" : "unresolved"), { kind: "main", key: "e", why }),
      button("Archive", () => this.apply("ignored"), { key: "a", why }),
      copyButton("Copy as Markdown", () => eventMarkdown(this.issue, this.event, this.exceptions(), this.crumbs()), { kind: "", key: "c", id: "copy-markdown" }),
    );
  }

  showState(status) {
    const [kind, words] = STATUS[status] ?? ["", status];
    this.state.className = `badge ${kind}`;
    this.state.textContent = status === "unresolved" && this.issue.substatus === "regressed" ? "Came back" : words;
  }

  stack(next) {
    const exceptions = this.exceptions();
    const ofThrown = exceptions.at(-1)?.stacktrace?.frames ?? [];
    const note = ofThrown.length ? `raised first; ${countOurs(ofThrown)} of ${plural(ofThrown.length, "frame")} are yours` : "";
    const isAll = next.query.get("frames") === "all";
    const said = entry(this.event, "message")?.formatted;
    const content = exceptions.length ? chain(exceptions, { all: isAll }) : h("div", { class: "sheet mono" }, said ? text(said, 20000) : h("span", { class: "dim" }, "No stack trace and no message were sent."));
    const all = ofThrown.length > MANY_FRAMES && !isAll && button("All frames", () => change({ frames: "all" }), { kind: "low quiet" });
    return card(exceptions.length ? "Stack trace" : "Message", "stack-trace", content, { note: h("span", { class: "wide" }, note), side: [all, this.paging()] });
  }

  paging() {
    const { event, issue } = this;
    const step = (words, label, id) => button(words, () => go(this.eventPath(id)), { kind: "low", "aria-label": label, why: id ? "" : "there is none" });
    return [step("‹ Older", "Older event", event.previousEventID), h("span", { class: "small nowrap wide" }, whereAmong(event, issue)), step("Newer ›", "Newer event", event.nextEventID)];
  }

  eventPath(id) {
    return path(`/issues/${encodeURIComponent(this.issueId)}/events/${encodeURIComponent(id)}/`);
  }

  async rawCard() {
    const { event, issue } = this;
    const address = projectApi(issue.project.slug, `/events/${encodeURIComponent(event.eventID)}/json/`);
    const sent = await get(address).catch(() => event);
    const words = JSON.stringify(sent, null, 2);
    const link = h("a", { class: "btn low", download: `${event.eventID}.json`, href: address }, "Download");
    const back = button("Back", () => change({ raw: "" }), { kind: "low" });
    return card("Raw JSON", "raw", h("pre", { class: "raw", tabindex: "0", "aria-label": "Event as JSON" }, text(words, 500000)), { side: [copyButton("Copy", words), link, back] });
  }

  // How the issue's events share some tags; counted when everything else is shown.
  async shared(aside) {
    const of = api(`/issues/${encodeURIComponent(this.issueId)}/tags/`);
    const { signal } = this.asking;
    const found = await Promise.all(SHARED_TAGS.map((name) => get(`${of}${name}/`, null, { signal }).catch(() => null)));
    const shown = found
      .filter((tag) => tag?.topValues?.length)
      .map((tag) => [tag.key === "server_name" ? "server" : tag.key, tag.topValues.slice(0, 3).map((one) => `${plain(one.value, 60)} ${Math.round((100 * one.count) / tag.totalValues)}%`).join(", ")]);
    if (shown.length) aside.append(card("In this issue", "in-this-issue", pairs(shown)));
  }

  // --- changing

  apply(status) {
    const query = new URLSearchParams(location.search);
    changeIssues([this.issue], status, {
      shown: (one, as) => {
        one.status = as;
        one.substatus = null;
        this.showState(as);
      },
      again: () => {
        this.issueId = "";
        this.load({ query, parts: ["", "", "", this.issue.id, "events", this.event.eventID] });
      },
    });
  }

  keys() {
    const may = () => !whyNot("event:write") && this.issue;
    const beside = (id) => id && go(this.eventPath(id));
    return {
      "[": ["older event", () => beside(this.event?.previousEventID)],
      "]": ["newer event", () => beside(this.event?.nextEventID)],
      e: ["resolve, or open again", () => may() && this.apply(this.issue.status === "unresolved" ? "resolved" : "unresolved")],
      a: ["archive", () => may() && this.apply("ignored")],
      c: ["copy as Markdown", () => document.getElementById("copy-markdown")?.click()],
      Escape: ["back to the list", () => go(path("/issues/"))],
    };
  }
}

export function open(place) {
  const view = new EventView();
  view.load(place);
  return { node: view.node, update: (next) => view.load(next), close: () => view.asking.abort(), keys: view.keys() };
}
