// What stands below and beside the stack trace: breadcrumbs, request, contexts, facts of the event.
import { button, h, replace } from "../../dom/elements.js";
import { plural } from "../../dom/format.js";
import { mark } from "../../dom/marks.js";
import { asText, text, value } from "../../dom/text.js";
import { exact, offset } from "../../dom/times.js";

const LAST_CRUMBS = 5;
const FIRST_TAGS = 12;
const MAX_PAIRS = 100;
// What the workers read out of the event and the page shows in a place of its own.
const DERIVED = /^(?:user|http|url|server|client|process|exception|breadcrumbs|os|device|host|browser|user_agent|code|telemetry|sentry|thread|network|enduser|log|app)\./;

export function card(title, id, content, { note = "", side = null } = {}) {
  return h("section", { class: "card", "aria-labelledby": id }, h("div", { class: "head" }, h("h2", { id }, title), note && h("p", { class: "wide" }, note), side && h("span", { class: "end row" }, side)), content);
}

export function pairs(entries, { mono = false } = {}) {
  const all = entries.filter(([, given]) => given !== null && given !== undefined && given !== "");
  const list = h("dl", { class: mono ? "kv mono" : "kv" });
  const draw = (most) => {
    replace(list, all.slice(0, most).map(([name, given]) => [h("dt", null, text(name, 200)), given instanceof Node ? h("dd", null, given) : value(given)]));
    if (all.length > most) list.append(h("dt"), h("dd", null, button(`Show all ${all.length.toLocaleString("en")}`, () => draw(Math.min(all.length, most * 10)), { kind: "low" })));
  };
  draw(MAX_PAIRS);
  return list;
}

function crumbTime(crumb) {
  const at = crumb.timestamp;
  return typeof at === "number" ? at * 1000 : at;
}

function crumbWords(crumb) {
  const data = crumb.data && typeof crumb.data === "object" ? crumb.data : {};
  if (data.url) return `${asText(data.method)} ${asText(data.url)}${data.status_code ? ` → ${asText(data.status_code)}` : ""}`.trim();
  return asText(crumb.message) || (Object.keys(data).length ? JSON.stringify(data) : asText(crumb.type));
}

function crumbRow(crumb, event) {
  const words = crumbWords(crumb);
  const row = h(
    "li",
    { class: "crumb" },
    mark(asText(crumb.level) || "info"),
    h("span", { class: "mono dim", title: exact(crumbTime(crumb)) }, offset(crumbTime(crumb), event.dateCreated)),
    h("span", { class: "dim2 clip" }, text(crumb.category || crumb.type, 60)),
    h("span", { class: "mono clip", title: null }, text(words, 2000)),
  );
  row.lastChild.addEventListener("click", () => row.lastChild.classList.toggle("clip"));
  return row;
}

export function breadcrumbs(crumbs, event, raised) {
  const box = h("ol");
  const error = h("li", { class: "crumb last" }, mark("error"), h("span", { class: "mono dim" }, "0:00.000"), h("span", { class: "dim2" }, "error"), h("span", { class: "mono clip" }, text(raised, 400)));
  const draw = (count) => replace(box, crumbs.slice(-count).map((crumb) => crumbRow(crumb, event)), error);
  draw(LAST_CRUMBS);
  const note = crumbs.length > LAST_CRUMBS ? `last ${LAST_CRUMBS} of ${plural(crumbs.length, "breadcrumb")}` : plural(crumbs.length, "breadcrumb");
  const all = crumbs.length > LAST_CRUMBS && button("Show all", () => (draw(crumbs.length), all.remove()), { kind: "low" });
  return card("What happened before", "breadcrumbs", box, { note, side: all || null });
}

export function requestCard(request) {
  const listed = (given) => (Array.isArray(given) ? given.map((pair) => (Array.isArray(pair) ? [asText(pair[0]), pair[1]] : ["", pair])) : given ? [["value", given]] : []);
  const first = [[asText(request.method) || "URL", request.url], ["query", request.query], ["body", request.data]];
  const rest = [["Headers", listed(request.headers)], ["Cookies", listed(request.cookies)], ["Environment", listed(request.env)]].filter(([, all]) => all.length);
  return card("Request", "request", [pairs(first), rest.map(([title, all]) => h("details", { class: "frame" }, h("summary", null, `${title} (${all.length})`), pairs(all)))]);
}

export function contexts(event) {
  const all = Object.entries({ ...event.contexts, ...(Object.keys(event.context ?? {}).length ? { extra: event.context } : {}) });
  const shown = all.filter(([name, given]) => name !== "trace" && given && typeof given === "object");
  if (!shown.length) return null;
  return card("Contexts", "contexts", shown.slice(0, 50).map(([name, given]) => h("details", { class: "frame" }, h("summary", null, text(name, 100)), pairs(Object.entries(given).filter(([key]) => key !== "type")))));
}

export function packagesCard(event) {
  const all = Object.entries(event.packages ?? {});
  if (!all.length) return null;
  return card("Packages", "packages", h("details", { class: "frame" }, h("summary", null, plural(all.length, "package")), pairs(all)));
}

export function thisEvent(event, raw) {
  const tags = new Map(event.tags.map(({ key, value: given }) => [key, given]));
  const user = event.user ?? {};
  const who = ["id", "email", "username", "ip_address"].filter((name) => user[name]).map((name) => `${name === "ip_address" ? "address" : name} ${user[name]}`);
  const first = [
    ["time", exact(event.dateCreated)],
    ["release", tags.get("release")],
    ["environment", tags.get("environment")],
    ["user", who.join(", ")],
    ["server", tags.get("server_name")],
  ];
  const known = new Set(["release", "environment", "server_name", "user", "level", "culprit"]);
  const others = event.tags.filter(({ key }) => !known.has(key)).map(({ key, value: given }) => [key, given]);
  const tagged = others.filter(([key]) => !DERIVED.test(key));
  const derived = others.filter(([key]) => DERIVED.test(key));
  const sdk = event.sdk ? `${event.sdk.name} ${event.sdk.version ?? ""}` : "";
  const shown = pairs([...first, ...tagged.slice(0, FIRST_TAGS), ["SDK", sdk], ["id", h("span", { class: "mono small" }, event.eventID)]]);
  const more = (title, all) => all.length > 0 && h("details", { class: "frame" }, h("summary", null, title), pairs(all));
  return card("This event", "this-event", [shown, more(`${plural(tagged.length - FIRST_TAGS, "more tag")}`, tagged.slice(FIRST_TAGS)), more(plural(derived.length, "attribute"), derived)], { side: button("Raw JSON", raw, { kind: "low quiet" }) });
}

export function changedOnArrival(event) {
  const repairs = (event.errors ?? []).map((one) => asText(one.message)).filter(Boolean);
  return repairs.length ? h("p", { class: "small dim2" }, "Changed on arrival: ", text(repairs.join(", "), 600)) : null;
}
