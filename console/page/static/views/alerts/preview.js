// What a rule would have told in the last days, asked while it is made. Nobody is told.
import { h, replace, svg } from "../../dom/elements.js";
import { plural, short } from "../../dom/format.js";
import { text } from "../../dom/text.js";
import { ago } from "../../dom/times.js";
import { send } from "../../shell/api.js";
import { api } from "../../shell/session.js";
import { ruleOf } from "./sentence.js";

const PERIOD = "7d";
const SHOWN = 5;
const [WIDTH, HEIGHT] = [600, 80];

// The numbers of a metric rule over time, with its threshold as a dashed line.
function chart(values, threshold) {
  const numbers = values.map(([, value]) => value).filter((value) => value !== null);
  if (!numbers.length) return null;
  const [least, most] = [Math.min(0, threshold, ...numbers), Math.max(1, threshold, ...numbers)];
  const y = (value) => (HEIGHT - 1 - ((value - least) / (most - least)) * (HEIGHT - 2)).toFixed(1);
  const x = (index) => ((index / Math.max(1, values.length - 1)) * WIDTH).toFixed(1);
  const points = values.map(([, value], index) => (value === null ? "" : `${index && values[index - 1][1] !== null ? "L" : "M"}${x(index)} ${y(value)}`));
  const said = `From ${short(Math.min(...numbers))} to ${short(Math.max(...numbers))}; threshold ${short(threshold)}`;
  return svg(
    "svg",
    { class: "numbers", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": said },
    svg("path", { class: "limit", d: `M0 ${y(threshold)}H${WIDTH}`, "stroke-dasharray": "6 4" }),
    svg("path", { class: "now", d: points.join("") }),
  );
}

function shown(answer, rule) {
  const said = answer.number ? `It would have fired ${plural(answer.number, "time")} since ` : "It would not have fired since ";
  const line = ({ at, status, title }) => h("li", null, ago(at), ": ", text(title, 200), status === "resolved" && h("span", { class: "dim" }, " (resolved)"));
  const rest = answer.number > SHOWN && h("p", { class: "small dim2" }, `These are the newest ${SHOWN}.`);
  return h(
    "div",
    { class: "stack" },
    h("p", null, said, ago(answer.from), answer.isCut && "; there was no time to look further back", "."),
    rule.triggers && chart(answer.values, rule.triggers[0].alertThreshold),
    answer.firings.length > 0 && h("ul", { class: "small" }, answer.firings.slice(0, SHOWN).map(line)),
    rest,
  );
}

// `box` shows the answer, `wrong` what is wrong with the fields.
export async function preview(kind, form, box, wrong) {
  wrong.textContent = "";
  box.textContent = "Looking at the last 7 days…";
  try {
    const values = new FormData(form);
    const rule = ruleOf(kind, values, []);
    replace(box, shown(await send("POST", api("/alerts/preview/"), { statsPeriod: PERIOD }, { kind, project: values.get("project"), rule }), rule));
  } catch (error) {
    replace(box);
    wrong.textContent = error.message;
  }
}
