// Delivery: is anything lost, late, refused, or waiting for me? The numbers were read at one moment by the server.
import { h, replace } from "../../dom/elements.js";
import { mark } from "../../dom/marks.js";
import { ago, exact } from "../../dom/times.js";
import { get } from "../../shell/api.js";
import { isLost, verdict } from "../../shell/delivery_chip.js";
import { copyButton } from "../../shell/dialogs.js";
import { choiceMenu } from "../../shell/menu.js";
import { change } from "../../shell/router.js";
import { api } from "../../shell/session.js";
import { failure, loadingRows } from "../../shell/states.js";
import { deadLetters } from "./dead_letters.js";
import { equation } from "./ledger.js";
import { refusalsCard } from "./refusals.js";
import { workersCard } from "./workers.js";

const EVERY_MS = 5000;
const PERIODS = [["7d", "7 days"], ["24h", "24 hours"], ["1h", "1 hour"], ["30d", "30 days"]];
const NOTHING = { deadLetters: [], refusals: [] };

function heading(told, menu) {
  if (!told.total) return h("div", { class: "row wrap lead" }, h("h1", null, "Delivery"), menu);
  const [level, short] = verdict(told);
  const words = level === "ok" ? "Everything accepted is accounted for" : short;
  const ours = isLost(told) && h("p", { class: "problem" }, "This is our fault, not yours. Please report it: ", copyButton("Copy report", JSON.stringify(told, null, 2)));
  const since = told.heldSince ? `bodies since ${exact(told.heldSince)}; ` : "";
  const checked = new Date(told.checkedSeconds * 1000).toISOString();
  return [h("div", { class: "row wrap lead" }, h("h1", null, mark(level, level === "ok" ? "" : level), words), h("p", { class: "dim2" }, since, "checked ", ago(checked), told.isOld && ", which is long ago: does the janitor run?"), menu), ours];
}

// A part of the page that is drawn again when what it shows has changed, and not while somebody is at it.
function part() {
  const box = h("div");
  let shown = "";
  box.show = (data, draw, isForced) => {
    const now = JSON.stringify(data);
    const isBusy = box.querySelector("details[open]") || box.querySelector(":focus-visible");
    if (now === shown || (isBusy && !isForced)) return;
    shown = now;
    draw(box);
  };
  return box;
}

export function open(place) {
  document.title = "Delivery · axonpush";
  const node = h("div", { class: "view" }, loadingRows(8));
  const [head, sums, dead, rest] = [part(), part(), part(), part()];
  const letters = deadLetters(() => load());
  const said = h("p", { class: "problem", role: "status" });
  dead.append(letters);
  let query = place.query;
  let last = null;
  let drawn = "";
  let asking = new AbortController();
  let isReading = false;

  async function read(isPoll) {
    const options = { isPoll, signal: asking.signal };
    let trouble = "";
    const unread = (error) => {
      if (error.name === "AbortError") throw error;
      trouble = `Dead letters and refusals cannot be read; trying again. ${error.message}`;
      return last?.problems ?? NOTHING;
    };
    const statsPeriod = query.get("statsPeriod") ?? "7d";
    const asked = [get(api("/delivery/"), null, options), get(api("/delivery/problems/"), { statsPeriod }, options).catch(unread)];
    const [told, problems] = await Promise.all(asked);
    return { told, problems, trouble };
  }

  // The reconciliation is shown also while the lists below it cannot be read.
  async function load(isPoll = false) {
    if (isPoll && isReading) return;
    if (!isPoll) {
      asking.abort(); // an answer about another time may not come last
      asking = new AbortController();
    }
    const mine = asking;
    isReading = true;
    try {
      last = await read(isPoll);
      draw();
      said.textContent = last.trouble;
    } catch (error) {
      if (error.name === "AbortError") return;
      if (last) said.textContent = `Could not refresh; trying again. ${error.message}`;
      else replace(node, h("h1", null, "Delivery"), h("div", { class: "card" }, failure(error, () => load())));
    } finally {
      if (mine === asking) isReading = false;
    }
  }

  function draw() {
    const statsPeriod = query.get("statsPeriod") ?? "7d";
    const letter = query.get("letter") ?? "";
    const isOther = drawn !== location.search;
    drawn = location.search;
    if (!head.isConnected) replace(node, head, said, h("div", { class: "stack" }, sums, dead, rest));
    const { told, problems } = last;
    const menu = h("span", { class: "end row" }, choiceMenu("Time", PERIODS, statsPeriod, (value) => change({ statsPeriod: value === "7d" ? "" : value })));
    head.show([told, statsPeriod], (box) => replace(box, heading(told, menu)), isOther);
    sums.show([told.total, told.projects, told.trouble], (box) => replace(box, equation(told)), isOther);
    dead.show([problems.deadLetters, told.deadLetters, letter, statsPeriod], () => letters.draw(problems, told.deadLetters, { letter, statsPeriod }), isOther);
    rest.show([told.workers, problems.refusals], (box) => replace(box, h("div", { class: "half" }, workersCard(told.workers), refusalsCard(problems.refusals))), isOther);
  }

  load();
  const timer = setInterval(() => !document.hidden && load(true), EVERY_MS);
  return {
    node,
    update(next) {
      const isOtherTime = next.query.get("statsPeriod") !== query.get("statsPeriod");
      query = next.query;
      if (last && !isOtherTime) draw();
      else load();
    },
    close() {
      clearInterval(timer);
      asking.abort();
    },
    keys: { r: ["read the numbers again", () => load()], Escape: ["close what is opened", () => query.get("letter") && change({ letter: "" }, { instead: true })] },
  };
}
