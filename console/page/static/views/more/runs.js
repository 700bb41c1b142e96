// A strip of the last runs of a job, the oldest left. Its label says the counts in words.
import { svg } from "../../dom/elements.js";

const WIDTH = 8;
const MOST = 30;
const WORDS = { ok: "ok", error: "failed", timeout: "timed out", missed_checkin: "missed", active: "running" };

export const runWord = (status) => WORDS[status] ?? status;

function sign(run, x) {
  if (run.status === "ok") return svg("rect", { class: "ok", x, y: 2, width: 5, height: 20 });
  if (run.status === "active") return svg("rect", { class: "running", x, y: 8, width: 5, height: 14 });
  if (run.status === "missed_checkin") return svg("rect", { class: "missed", x: x + 0.5, y: 2.5, width: 4, height: 19 });
  return svg("path", { class: "failed", d: `M${x} 8l5 8m0-8l-5 8` });
}

export function runStrip(runs) {
  const shown = runs.slice(0, MOST).reverse();
  const counts = new Map();
  for (const { status } of shown) counts.set(runWord(status), (counts.get(runWord(status)) ?? 0) + 1);
  const words = [...counts].map(([word, count]) => `${count} ${word}`).join(", ");
  const begin = (MOST - shown.length) * WIDTH;
  return svg("svg", { class: "runs", viewBox: `0 0 ${MOST * WIDTH} 24`, role: "img", "aria-label": words || "no runs" }, shown.map((run, index) => sign(run, begin + index * WIDTH)));
}

// "every day at 02:00" where it is that simple, else the schedule as it was sent.
export function schedule(config) {
  const { schedule: given, schedule_type: kind, timezone } = config ?? {};
  const zone = timezone ? ` ${timezone}` : "";
  if (given && typeof given === "object" && !Array.isArray(given)) return scheduleWords(given, kind) + zone;
  if (Array.isArray(given)) return `every ${given.join(" ")}${zone}`;
  return given ? `${given}${zone}` : "";
}

function scheduleWords(given, kind) {
  const { type = kind, value, unit } = given;
  if (type === "interval") return `every ${value} ${unit ?? "time"}${Number(value) === 1 ? "" : "s"}`;
  const daily = /^(\d{1,2}) (\d{1,2}) \* \* \*$/.exec(String(value));
  return daily ? `every day at ${daily[2].padStart(2, "0")}:${daily[1].padStart(2, "0")}` : String(value ?? "");
}
