// How many lines came when: a bar for each step of time, with its errors inside.
import { h, svg } from "../../dom/elements.js";
import { plural, whole } from "../../dom/format.js";
import { exact } from "../../dom/times.js";

const HEIGHT = 48;
const TALLEST = 46;

const sum = (counts) => counts.reduce((total, count) => total + count, 0);

function bars(counts, highest, kind) {
  const width = 100 / Math.max(1, counts.length);
  return counts.map((count, index) => {
    if (count <= 0) return false;
    const height = Math.max(1, (count / highest) * TALLEST);
    return svg("rect", { class: kind, x: `${(index * width).toFixed(3)}%`, width: `${(width * 0.86).toFixed(3)}%`, y: HEIGHT - height, height });
  });
}

// Both are lists of [time, [{count}]], as the Web API answers.
export function histogram(all, bad) {
  const counts = all.map(([, [{ count }]]) => count);
  const errors = bad.map(([, [{ count }]]) => count);
  const highest = Math.max(1, ...counts);
  const words = `${plural(sum(counts), "line")}, ${plural(sum(errors), "error")}`;
  const first = all[0]?.[0];
  return [
    svg("svg", { class: "histogram", role: "img", "aria-label": `${words}; at most ${whole(highest)} in one bar` }, bars(counts, highest, ""), bars(errors, highest, "bad")),
    h("p", { class: "small dim2 row" }, words, h("span", { class: "end dim" }, first ? `from ${exact(new Date(first * 1000).toISOString())}` : "")),
  ];
}
