// Runs of agents: traces in which models, tools or agents were called, the newest first.
import { button, h, replace } from "../../dom/elements.js";
import { duration, short, whole } from "../../dom/format.js";
import { mark } from "../../dom/marks.js";
import { cell, row, table } from "../../dom/table.js";
import { text } from "../../dom/text.js";
import { ago } from "../../dom/times.js";
import { page } from "../../shell/api.js";
import { copyButton } from "../../shell/dialogs.js";
import { choiceMenu } from "../../shell/menu.js";
import { change } from "../../shell/router.js";
import { api, path } from "../../shell/session.js";
import { fill } from "../../shell/states.js";
import { money } from "./conversation.js";

const HEADS = [["Run", ""], ["turns", "num"], ["tools", "num wide"], ["took", "num wide"], ["tokens in, out", "num wide"], ["cost", "num"], ["began", "num"]];
const PER_PAGE = 25;
const TURN_ON = `import sentry_sdk
from sentry_sdk.integrations.openai import OpenAIIntegration
sentry_sdk.init(dsn="DSN", traces_sample_rate=1.0, send_default_pii=True, integrations=[OpenAIIntegration()])`;

function runRow(run) {
  const models = run.models.map(({ model }) => model).filter(Boolean).join(", ");
  return row(
    cell({ class: "first" }, run.failed > 0 && [mark("error", "failed"), " "], h("a", { href: path(`/traces/${run.trace}/`, { view: "ai" }) }, text(run.name || "(no name)", 160)), h("br"), h("span", { class: "small dim" }, text(models, 160))),
    cell({ class: "num", "data-l": "turns" }, whole(run.turns)),
    cell({ class: "num wide" }, whole(run.tools)),
    cell({ class: "num wide" }, duration(run.duration)),
    cell({ class: "num wide" }, `${short(run.tokensIn)}, ${short(run.tokensOut)}`),
    cell({ class: "num", "data-l": "cost", title: run.unpriced.length > 0 ? "Some models have no price" : null }, run.dollars !== null && run.unpriced.length > 0 && "≥ ", money(run.dollars, run.models)),
    cell({ class: "num dim2" }, ago(run.began)),
  );
}

function nothing() {
  return h("div", { class: "nothing" }, h("p", null, "No model calls in this time. These lines record them, with their messages; OpenTelemetry's ", h("code", null, "gen_ai.*"), " spans appear here too:"), h("pre", { class: "snippet", tabindex: "0" }, TURN_ON, copyButton("Copy", TURN_ON)), h("div", { class: "row" }, button("Look at 14 days", () => change({ statsPeriod: "14d" }))));
}

export function aiList(node, lead, periods) {
  const box = h("div", { class: "card" });
  const foot = h("div", { class: "row foot" });
  return (query, signal) => {
    const statsPeriod = query.get("statsPeriod") ?? "24h";
    const asked = { statsPeriod, project: query.get("project"), cursor: query.get("cursor"), limit: PER_PAGE };
    const menu = choiceMenu("Time", periods, statsPeriod, (value) => change({ statsPeriod: value === "24h" ? "" : value }));
    replace(node, lead, h("div", { class: "row wrap filter" }, h("p", { class: "dim2" }, "agents, tools and models, the newest first"), h("span", { class: "end row" }, menu)), box, foot);
    return fill(box, () => page(api("/ai-runs/"), asked, { signal }), ({ entries, cursor }) => {
      const older = cursor.next && button("Older", () => change({ cursor: cursor.next }), { kind: "low" });
      const newer = query.get("cursor") && button("Newer", () => change({ cursor: cursor.previous }), { kind: "low" });
      replace(foot, h("span", { class: "end row" }, newer, older));
      return entries.data.length ? table("AI runs", HEADS, entries.data.map(runRow)) : nothing();
    });
  };
}
