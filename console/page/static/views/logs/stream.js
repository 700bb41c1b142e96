// The stream of new lines. It pauses at any touch, tells how many wait, and reconnects with what was missed.
import { query } from "../../shell/api.js";
import { api } from "../../shell/session.js";

const MAX_WAITING_LINES = 2000;
// More than the server sends again when a stream is opened anew.
const MAX_KNOWN_IDS = 5000;
const RECONNECT_MS = 3000;

// Leaves out lines that were given before: the server reaches back a little.
function onlyNew(known, lines) {
  const fresh = lines.filter(({ id }) => !known.has(id));
  for (const { id } of fresh) known.add(id);
  for (const id of known) {
    if (known.size <= MAX_KNOWN_IDS) break;
    known.delete(id);
  }
  return fresh;
}

class LineStream {
  constructor({ words, project }, { show, tell }) {
    this.asked = { query: words, project };
    this.show = show;
    this.tell = tell;
    this.known = new Set();
    this.lastEventId = "";
    this.waiting = [];
    // Lines that came while it was paused and were too many to keep.
    this.missed = 0;
    this.isPaused = false;
    this.source = null;
    this.timer = 0;
    this.problem = "";
    // A hidden tab asks nothing.
    this.onHidden = () => (document.hidden ? this.stop() : this.source || this.open());
    document.addEventListener("visibilitychange", this.onHidden);
  }

  // One source at a time. A new one says what came last, as a browser does when it reconnects by itself.
  open() {
    this.stop();
    const source = new EventSource(api("/logs/live/") + query({ ...this.asked, lastEventId: this.lastEventId }));
    this.source = source;
    const handlers = { open: () => this.opened(), lines: (event) => this.take(event), problem: (event) => this.refused(event), error: () => this.failed(source) };
    for (const [name, handle] of Object.entries(handlers)) {
      source.addEventListener(name, (event) => this.source === source && handle(event));
    }
  }

  stop() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  opened() {
    this.problem = "";
    this.tellState();
  }

  take(event) {
    const { lines, hasMore } = JSON.parse(event.data);
    this.lastEventId = event.lastEventId || this.lastEventId;
    const fresh = onlyNew(this.known, lines);
    if (this.isPaused) return this.keep(fresh);
    this.show(fresh);
    this.tell(hasMore ? "More lines arrive than can be shown. Narrow the filter to see all." : "", false);
  }

  keep(lines) {
    this.waiting.push(...lines);
    this.missed += Math.max(0, this.waiting.length - MAX_WAITING_LINES);
    this.waiting = this.waiting.slice(-MAX_WAITING_LINES);
    this.tellState();
  }

  refused(event) {
    this.problem = JSON.parse(event.data).detail;
    this.tell(this.problem, this.isPaused);
  }

  failed(source) {
    this.tell(this.problem || "Reconnecting. Lines sent meanwhile will be filled in.", this.isPaused);
    if (source.readyState === EventSource.CLOSED) this.timer = setTimeout(() => document.hidden || this.open(), RECONNECT_MS);
  }

  tellState() {
    const count = this.waiting.length + this.missed;
    this.tell(this.isPaused ? `Paused. ${count.toLocaleString("en")} new line${count === 1 ? "" : "s"}` : "", this.isPaused);
  }

  pause() {
    if (this.isPaused) return;
    this.isPaused = true;
    this.tellState();
  }

  goOn() {
    this.isPaused = false;
    this.show(this.waiting);
    this.waiting = [];
    this.missed = 0;
    this.tellState();
  }

  close() {
    document.removeEventListener("visibilitychange", this.onHidden);
    this.stop();
  }
}

// `show(lines)`, `tell(words, isPaused)`. The caller uses pause, goOn, close and isPaused.
export function follow(asked, { show, tell }) {
  const stream = new LineStream(asked, { show, tell });
  stream.open();
  return stream;
}
