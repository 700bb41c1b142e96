// New lines as they arrive. The list stays at its end; any scroll away from it pauses.
import { button, h, replace } from "../../dom/elements.js";
import { lineElement } from "./lines.js";
import { follow } from "./stream.js";

const MAX_LINES = 2000;
const NEAR_END_PX = 80;
const NONE = "Listening. Nothing matches yet.";

export class LiveLines {
  constructor(asked, filter) {
    this.filter = filter;
    this.lines = h("ol", { class: "logs", "aria-label": "New lines, the newest last" });
    this.box = h("div", { class: "scroller", tabindex: "0", "aria-label": "New lines" }, this.lines);
    this.status = h("div", { class: "note-line row", role: "status" }, NONE);
    this.stream = follow(asked, { show: (fresh) => this.show(fresh), tell: (words, isPaused) => this.tell(words, isPaused) });
    this.box.addEventListener("scroll", () => (this.isAtEnd() ? this.stream.isPaused && this.stream.goOn() : this.stream.pause()));
    this.lines.addEventListener("click", () => this.stream.pause());
  }

  get isPaused() {
    return this.stream.isPaused;
  }

  isAtEnd() {
    return this.box.scrollHeight - this.box.scrollTop - this.box.clientHeight < NEAR_END_PX;
  }

  show(fresh) {
    for (const line of fresh) this.lines.append(lineElement(line, { filter: this.filter }));
    while (this.lines.childElementCount > MAX_LINES) this.lines.firstChild.remove();
    if (fresh.length) this.box.scrollTop = this.box.scrollHeight;
  }

  tell(words, isPaused) {
    const calm = this.lines.hasChildNodes() ? "Live" : NONE;
    const goOn = () => (this.goOn(), (this.box.scrollTop = this.box.scrollHeight));
    replace(this.status, words || calm, isPaused && button("Go on", goOn, { kind: "low" }));
  }

  goOn() {
    this.stream.goOn();
  }

  close() {
    this.stream.close();
  }
}
