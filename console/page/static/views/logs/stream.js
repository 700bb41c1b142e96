// The stream of new lines. It pauses at any touch, tells how many wait, and reconnects with what was missed.
import { query } from "../../shell/api.js";
import { api } from "../../shell/session.js";

const MOST_WAITING = 2000;
// More than the server sends again when a stream is opened anew.
const MOST_KNOWN = 5000;
const AGAIN_MS = 3000;

// Leaves out lines that were given before: the server reaches back a little.
function onlyNew(known, lines) {
  const fresh = lines.filter(({ id }) => !known.has(id));
  for (const { id } of fresh) known.add(id);
  for (const id of known) {
    if (known.size <= MOST_KNOWN) break;
    known.delete(id);
  }
  return fresh;
}

// `show(lines)`, `tell(words)`. Returns {pause, goOn, close, isPaused}.
export function follow({ words, project }, { show, tell }) {
  const known = new Set();
  let lastEventId = "";
  let waiting = [];
  let missed = 0;
  let isPaused = false;
  let source = null;
  let timer = 0;
  let problem = "";

  const count = () => waiting.length + missed;
  const told = () => tell(isPaused ? `Paused. ${count().toLocaleString("en")} new line${count() === 1 ? "" : "s"}` : "", isPaused);

  function stop() {
    clearTimeout(timer);
    source?.close();
    source = null;
  }

  function take(event) {
    const { lines, hasMore } = JSON.parse(event.data);
    lastEventId = event.lastEventId || lastEventId;
    const fresh = onlyNew(known, lines);
    if (isPaused) {
      waiting.push(...fresh);
      missed += Math.max(0, waiting.length - MOST_WAITING);
      waiting = waiting.slice(-MOST_WAITING);
      told();
    } else {
      show(fresh);
      tell(hasMore ? "More lines arrive than can be shown. Narrow the filter to see all." : "", false);
    }
  }

  // One stream at a time. A new one says what came last, as a browser does when it reconnects by itself.
  function open() {
    stop();
    const opened = new EventSource(api("/logs/live/") + query({ query: words, project, lastEventId }));
    source = opened;
    const on = (name, act) => opened.addEventListener(name, (event) => opened === source && act(event));
    on("open", () => {
      problem = "";
      told();
    });
    on("lines", take);
    on("problem", (event) => {
      problem = JSON.parse(event.data).detail;
      tell(problem, isPaused);
    });
    on("error", () => {
      tell(problem || "Reconnecting. Lines sent meanwhile will be filled in.", isPaused);
      if (opened.readyState === EventSource.CLOSED) timer = setTimeout(() => document.hidden || open(), AGAIN_MS);
    });
  }

  // A hidden tab asks nothing.
  const onHidden = () => (document.hidden ? stop() : source || open());
  document.addEventListener("visibilitychange", onHidden);
  open();
  return {
    get isPaused() {
      return isPaused;
    },
    pause() {
      if (isPaused) return;
      isPaused = true;
      told();
    },
    goOn() {
      isPaused = false;
      show(waiting);
      waiting = [];
      missed = 0;
      told();
    },
    close() {
      document.removeEventListener("visibilitychange", onHidden);
      stop();
    },
  };
}
