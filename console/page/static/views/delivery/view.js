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
const DEFAULT_PERIOD = "7d";
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

class DeliveryView {
  constructor(place) {
    this.node = h("div", { class: "view" }, loadingRows(8));
    this.head = part();
    this.sums = part();
    this.dead = part();
    this.rest = part();
    this.letters = deadLetters(() => this.load());
    this.status = h("p", { class: "problem", role: "status" });
    this.dead.append(this.letters);
    this.query = place.query;
    this.last = null;
    // The address that was drawn last: another one is drawn also while somebody is at a part.
    this.drawn = "";
    this.reading = new AbortController();
    this.isReading = false;
    this.timer = setInterval(() => !document.hidden && this.load(true), EVERY_MS);
  }

  get period() {
    return this.query.get("statsPeriod") ?? DEFAULT_PERIOD;
  }

  // The reconciliation is shown also while the lists below it cannot be read.
  async read(isPoll) {
    const options = { isPoll, signal: this.reading.signal };
    let trouble = "";
    const unread = (error) => {
      if (error.name === "AbortError") throw error;
      trouble = `Dead letters and refusals cannot be read; trying again. ${error.message}`;
      return this.last?.problems ?? NOTHING;
    };
    const problems = get(api("/delivery/problems/"), { statsPeriod: this.period }, options).catch(unread);
    const [told, listed] = await Promise.all([get(api("/delivery/"), null, options), problems]);
    return { told, problems: listed, trouble };
  }

  async load(isPoll = false) {
    if (isPoll && this.isReading) return;
    if (!isPoll) {
      this.reading.abort(); // an answer about another time may not come last
      this.reading = new AbortController();
    }
    const mine = this.reading;
    this.isReading = true;
    try {
      this.last = await this.read(isPoll);
      this.draw();
      this.status.textContent = this.last.trouble;
    } catch (error) {
      this.fail(error);
    } finally {
      if (mine === this.reading) this.isReading = false;
    }
  }

  fail(error) {
    if (error.name === "AbortError") return;
    if (this.last) this.status.textContent = `Could not refresh; trying again. ${error.message}`;
    else replace(this.node, h("h1", null, "Delivery"), h("div", { class: "card" }, failure(error, () => this.load())));
  }

  menu() {
    const choose = (value) => change({ statsPeriod: value === DEFAULT_PERIOD ? "" : value });
    return h("span", { class: "end row" }, choiceMenu("Time", PERIODS, this.period, choose));
  }

  draw() {
    const statsPeriod = this.period;
    const letter = this.query.get("letter") ?? "";
    const isOther = this.drawn !== location.search;
    this.drawn = location.search;
    const { head, sums, dead, rest } = this;
    if (!head.isConnected) replace(this.node, head, this.status, h("div", { class: "stack" }, sums, dead, rest));
    const { told, problems } = this.last;
    head.show([told, statsPeriod], (box) => replace(box, heading(told, this.menu())), isOther);
    sums.show([told.total, told.projects, told.trouble], (box) => replace(box, equation(told)), isOther);
    dead.show([problems.deadLetters, told.deadLetters, letter, statsPeriod], () => this.letters.draw(problems, told.deadLetters, { letter, statsPeriod }), isOther);
    rest.show([told.workers, problems.refusals], (box) => replace(box, h("div", { class: "half" }, workersCard(told.workers), refusalsCard(problems.refusals))), isOther);
  }

  update(next) {
    const isOtherTime = next.query.get("statsPeriod") !== this.query.get("statsPeriod");
    this.query = next.query;
    if (this.last && !isOtherTime) this.draw();
    else this.load();
  }

  close() {
    clearInterval(this.timer);
    this.reading.abort();
  }

  keys() {
    return {
      r: ["read the numbers again", () => this.load()],
      Escape: ["close what is opened", () => this.query.get("letter") && change({ letter: "" }, { instead: true })],
    };
  }
}

export function open(place) {
  document.title = "Delivery · axonpush";
  const view = new DeliveryView(place);
  view.load();
  return { node: view.node, update: (next) => view.update(next), close: () => view.close(), keys: view.keys() };
}
