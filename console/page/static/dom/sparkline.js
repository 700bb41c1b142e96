// Bars of a small chart, on their own scale; the newest has a color of its own. The label says what they say.
import { svg } from "./elements.js";
import { whole } from "./format.js";

const HEIGHT = 24;

export function sparkline(counts, label) {
  const most = Math.max(1, ...counts);
  const bar = (count, index) => `M${2 + index * 5} ${HEIGHT}v-${count ? Math.max(2, Math.round((count / most) * (HEIGHT - 1))) : 1}`;
  const bars = counts.map(bar);
  const sum = counts.reduce((total, count) => total + count, 0);
  const said = `${whole(sum)} events in ${label}, at most ${whole(Math.max(0, ...counts))} in one bar`;
  return svg(
    "svg",
    { class: "spark", viewBox: `0 0 ${counts.length * 5} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": said },
    svg("path", { d: bars.slice(0, -1).join("") }),
    svg("path", { class: "now", d: bars.at(-1) ?? "" }),
  );
}
