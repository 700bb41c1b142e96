// Retrying and dropping dead letters: asked for, and what came of it.
import { h } from "../../dom/elements.js";
import { plural, whole } from "../../dom/format.js";
import { get, send } from "../../shell/api.js";
import { ask } from "../../shell/dialogs.js";
import { api } from "../../shell/session.js";

const LOOKS = 12;
const LOOK_MS = 1000;

const base = (below) => api(`/delivery/dead-letters/${below}`);
const reasons = (again) => again.map(({ reason, number }) => (again.length > 1 ? `${whole(number)} × ${reason}` : reason)).join(", ");

// What was not done, as sentences.
function rest({ left = 0, gone = 0, impossible = [] }) {
  return [
    impossible.length && ` ${whole(impossible.length)} cannot be retried, because where they came from is not known.`,
    gone && ` ${whole(gone)} ${gone === 1 ? "was" : "were"} not there any more.`,
    left && ` ${whole(left)} more are left: do it again for the next ones.`,
  ].filter(Boolean).join("");
}

// Twice the same: what fails again is known a little later than that it was processed.
async function outcome({ retried, generation }, say) {
  say(`Retried ${whole(retried)}. Waiting for what becomes of them…`);
  let isSettled = false;
  for (let look = 0; look < LOOKS; look += 1) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    const told = await get(base(`retries/${generation}/`), null, { isPoll: true });
    const again = told.deadAgain.reduce((sum, { number }) => sum + number, 0);
    if (isSettled || again >= retried) {
      return again ? `Retried ${whole(retried)}: ${whole(again)} failed again (${reasons(told.deadAgain)}).` : `Retried ${whole(retried)}: none failed again.`;
    }
    isSettled = told.processed >= retried;
  }
  return `Retried ${whole(retried)}. They are not processed yet; what fails again is listed again.`;
}

// `say` shows a sentence. Resolves when it is known what became of them.
export async function retry(chosen, say) {
  say("Retrying…");
  const done = await send("POST", base("retry/"), {}, chosen);
  if (!done.retried) return say(`Nothing was retried.${rest(done)}`);
  return say((await outcome(done, say)) + rest(done));
}

export async function drop(chosen, number, say) {
  const what = plural(number, "dead letter");
  const words = h("p", null, "Their bytes are deleted and counted as dropped. This cannot be undone.");
  const answer = await ask(`Drop ${what}?`, words, [{ label: "Keep", value: "" }, { label: `Drop ${whole(number)}`, value: "drop", kind: "main" }], "");
  if (answer !== "drop") return false;
  say("Dropping…");
  const done = await send("POST", base("drop/"), {}, chosen);
  say(`Dropped ${plural(done.dropped ?? 0, "dead letter")}.${rest(done)}`);
  return true;
}
