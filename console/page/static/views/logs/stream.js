// The stream of new lines. It pauses at any touch, tells how many wait, and reconnects with what was missed.
import { query } from "../../shell/api.js";
import { api } from "../../shell/session.js";

const MOST_WAITING = 2000;

// `show(lines)`, `tell(words)`. Returns {pause, goOn, close, isPaused}.
export function follow({ words, project }, { show, tell }) {
  let waiting = [];
  let missed = 0;
  let isPaused = false;
  let source = null;

  const count = () => waiting.length + missed;
  const told = () => tell(isPaused ? `Paused. ${count().toLocaleString("en")} new line${count() === 1 ? "" : "s"}` : "", isPaused);

  function open() {
    source = new EventSource(api("/logs/live/") + query({ query: words, project }));
    source.addEventListener("open", () => told());
    source.addEventListener("lines", (event) => {
      const { lines, hasMore } = JSON.parse(event.data);
      if (isPaused) {
        waiting.push(...lines);
        missed += Math.max(0, waiting.length - MOST_WAITING);
        waiting = waiting.slice(-MOST_WAITING);
        told();
      } else {
        show(lines);
        tell(hasMore ? "More lines arrive than can be shown. Narrow the filter to see all." : "", false);
      }
    });
    source.addEventListener("problem", (event) => tell(JSON.parse(event.data).detail, false));
    source.addEventListener("error", () => {
      tell("Reconnecting. Lines sent meanwhile will be filled in.", isPaused);
      if (source.readyState === EventSource.CLOSED) setTimeout(() => source && open(), 3000);
    });
  }

  // A hidden tab asks nothing.
  const onHidden = () => {
    if (document.hidden) source?.close();
    else if (source?.readyState === EventSource.CLOSED) open();
  };
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
      source?.close();
      source = null;
    },
  };
}
