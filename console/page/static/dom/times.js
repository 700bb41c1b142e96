// Moments: relative ones that one clock keeps true, exact ones in UTC or local time.
import { h } from "./elements.js";

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const TICK_MS = 10000;
export const zone = { isLocal: localStorage.getItem("axonpush.times") === "local" };
// How far this machine's clock is ahead of the server's; relative times are true with a wrong clock too.
export const clock = { ahead_ms: 0, now: () => Date.now() - clock.ahead_ms };

function fields(date) {
  const local = zone.isLocal;
  const of = (name) => date[`get${local ? "" : "UTC"}${name}`]();
  return { year: of("FullYear"), month: of("Month"), day: of("Date"), hour: of("Hours"), minute: of("Minutes"), second: of("Seconds"), ms: of("Milliseconds") };
}

const two = (number) => String(number).padStart(2, "0");

function zoneName() {
  return zone.isLocal ? ` ${Intl.DateTimeFormat().resolvedOptions().timeZone}` : "";
}

// Of a text, or of milliseconds since 1970; what a sender wrote instead is an unknown moment, not an error.
function dateOf(given) {
  return new Date(typeof given === "string" || typeof given === "number" ? given : NaN);
}

// 26 Nov 12:21:47.829, with the year if it is not this one.
export function exact(iso, { day = true } = {}) {
  const date = dateOf(iso);
  if (Number.isNaN(date.getTime())) return "unknown";
  const at = fields(date);
  const year = at.year === fields(new Date(clock.now())).year ? "" : ` ${at.year}`;
  const time = `${two(at.hour)}:${two(at.minute)}:${two(at.second)}.${String(at.ms).padStart(3, "0")}`;
  return (day ? `${at.day} ${MONTHS[at.month]}${year} ` : "") + time + (day ? zoneName() : "");
}

export function relative(iso) {
  const date = dateOf(iso);
  const seconds = Math.round((clock.now() - date.getTime()) / 1000);
  if (Number.isNaN(seconds)) return "unknown";
  if (seconds < -5) return `in ${span(-seconds)}`;
  if (seconds < 1) return "now";
  if (seconds < 14 * 86400) return `${span(seconds)} ago`;
  const at = fields(date);
  return `${at.day} ${MONTHS[at.month]}${at.year === fields(new Date(clock.now())).year ? "" : ` ${at.year}`}`;
}

function span(seconds) {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
  const days = Math.floor(seconds / 86400);
  return `${days} ${days === 1 ? "day" : "days"}`;
}

export function ago(iso) {
  if (!iso) return h("span", { class: "dim" }, "never");
  return h("time", { datetime: iso, title: exact(iso), "data-ago": "1" }, relative(iso));
}

export function moment(iso) {
  return iso ? h("time", { datetime: iso, title: iso }, exact(iso)) : h("span", { class: "dim" }, "unknown");
}

// Of a breadcrumb or a log: −0:02.114 before the moment of the event.
export function offset(iso, of) {
  const ms = dateOf(iso).getTime() - dateOf(of).getTime();
  if (Number.isNaN(ms)) return "";
  const size = Math.abs(ms);
  const minutes = Math.floor(size / 60000);
  const text = minutes > 99 ? `${Math.floor(minutes / 60)} h` : `${minutes}:${two(Math.floor(size / 1000) % 60)}.${String(Math.floor(size) % 1000).padStart(3, "0")}`;
  return ms < 0 ? `−${text}` : text;
}

export function startClock() {
  setInterval(() => {
    if (document.hidden) return;
    for (const time of document.querySelectorAll("time[data-ago]")) {
      const shown = relative(time.getAttribute("datetime"));
      if (time.textContent !== shown) time.textContent = shown;
    }
  }, TICK_MS);
}
