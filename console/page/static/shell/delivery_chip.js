// The sign at the right of the top bar: is everything accepted accounted for, and how far behind is reading?
import { h, replace } from "../dom/elements.js";
import { duration, whole } from "../dom/format.js";
import { mark } from "../dom/marks.js";
import { get } from "./api.js";
import { api, path, session } from "./session.js";

const EVERY_MS = 5000;
export const LATE_S = 30;

// Accepted records of which nothing is known any more.
export const isLost = ({ total, isIdle }) => total.missing > 0 || (total.difference > 0 && isIdle);

// The first that holds, the worst first.
export function verdict({ total, isIdle, oldestSeconds = 0, deadLetters = 0, workers = [] }) {
  if (!total) return ["unknown", "Status unknown"];
  if (isLost({ total, isIdle })) return ["error", `${whole(Math.max(total.missing, total.difference))} unaccounted for`];
  if (workers.some((worker) => worker.missing)) return ["error", "A worker is missing"];
  if (oldestSeconds > LATE_S) return ["warn", `Behind by ${duration(oldestSeconds * 1000)}`];
  if (deadLetters > 0) return ["warn", `${whole(deadLetters)} dead letter${deadLetters === 1 ? "" : "s"}`];
  return ["ok", "All accounted for"];
}

export function deliveryChip() {
  const chip = h("a", { class: "pill", href: path("/delivery/") }, mark("unknown", ""), h("b", null, "Status unknown"));
  if (!session.scopes.has("project:read")) return chip;
  let last = "";
  const refresh = async () => {
    if (document.hidden) return;
    let parts;
    try {
      const told = await get(api("/delivery/"), null, { isPoll: true });
      const [level, words] = verdict(told);
      const late = told.oldestSeconds ?? 0;
      parts = [level, words, late > 0 && level !== "unknown" ? `${duration(late * 1000)} behind` : ""];
    } catch {
      parts = ["unknown", "Status unknown", ""];
    }
    if (parts.join() === last) return;
    last = parts.join();
    replace(chip, mark(parts[0], ""), h("b", null, parts[1]), parts[2] && h("span", { class: "wide" }, parts[2]));
  };
  refresh();
  setInterval(refresh, EVERY_MS);
  document.addEventListener("visibilitychange", refresh);
  return chip;
}
