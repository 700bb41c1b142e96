// Workers: those that do something or need a look; the others in one line.
import { h } from "../../dom/elements.js";
import { duration, plural, whole } from "../../dom/format.js";
import { mark } from "../../dom/marks.js";
import { cell, row, table } from "../../dom/table.js";
import { text } from "../../dom/text.js";
import { LATE_S } from "../../shell/delivery_chip.js";
import { card } from "../event/sections.js";

const HEADS = [["Worker", ""], ["waiting", "num"], ["oldest", "num"], ["a second", "num wide"]];

// Level and words of a worker.
function stateOf(one) {
  if (one.missing) return ["error", "missing: run axonpush migrate"];
  if (one.unknown) return ["warning", "did not answer"];
  if ((one.oldest_s ?? 0) > LATE_S) return ["warning", "late"];
  return one.listeners || !one.pending ? ["ok", ""] : ["warning", "no process reads it"];
}

function workerRow(one) {
  const [level, words] = stateOf(one);
  return row(
    cell({ class: "first" }, mark(level, words), " ", text(one.worker, 60), words && h("span", { class: "small dim" }, ` ${words}`)),
    cell({ class: "num", "data-l": "waiting" }, whole(one.pending)),
    cell({ class: "num", "data-l": "oldest" }, one.oldest_s === null ? h("span", { class: "dim" }, "none") : duration(one.oldest_s * 1000)),
    cell({ class: "num wide" }, String(one.rate)),
  );
}

export function workersCard(workers) {
  const isBusy = (one) => one.pending || one.rate || stateOf(one)[0] !== "ok";
  const [busy, idle] = [workers.filter(isBusy), workers.filter((one) => !isBusy(one))];
  const rest = idle.length > 0 && h("details", { class: "frame" }, h("summary", null, mark("ok", ""), ` ${plural(idle.length, "worker")} with nothing to do`), table("Idle workers", HEADS, idle.map(workerRow)));
  return card("Workers", "workers", [busy.length > 0 && table("Workers", HEADS, busy.map(workerRow)), rest]);
}
