// Small signs: their form says what the color says too.
import { svg } from "./elements.js";

const SIGNS = { fatal: "fatal", error: "error", warning: "warn", warn: "warn", info: "info", debug: "debug", trace: "debug", ok: "ok", unknown: "unknown" };

export function mark(level, label = level) {
  const sign = Object.hasOwn(SIGNS, level) ? SIGNS[level] : "debug";
  const attributes = label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" };
  return svg("svg", { class: `mark m-${sign}`, ...attributes }, svg("use", { href: `#m-${sign}` }));
}
