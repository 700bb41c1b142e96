// The trace of an event, small: its spans in a few lanes, failed ones framed. Its label says what it shows.
import { h, replace, svg } from "../../dom/elements.js";
import { duration, plural } from "../../dom/format.js";
import { get } from "../../shell/api.js";
import { api, path } from "../../shell/session.js";
import { card } from "./sections.js";

const LANES = 6;
const MOST = 200;
const LANE_PX = 7;
const CLASS = { in: "server", out: "client", db: "db", msg: "queue", ai: "ai", fn: "internal" };

// How many spans are around each, at most the last lane.
function lanesOf(spans) {
  const byId = new Map(spans.map((span) => [span.id, span]));
  return (span) => {
    let lane = 0;
    for (let up = byId.get(span.parent); up && lane < LANES - 1; up = byId.get(up.parent)) lane += 1;
    return lane;
  };
}

function strip(spans) {
  const begin = Math.min(...spans.map((span) => span.start));
  const length = Math.max(0.001, ...spans.map((span) => span.start + span.duration - begin));
  const laneOf = lanesOf(spans);
  const failed = spans.filter((span) => span.failed);
  const rect = (span) => svg("rect", { class: `k-${CLASS[span.work] ?? "internal"}${span.failed ? " bad" : ""}`, x: `${(((span.start - begin) / length) * 100).toFixed(2)}%`, width: `${Math.max(0.6, (span.duration / length) * 100).toFixed(2)}%`, y: laneOf(span) * LANE_PX + 1, height: LANE_PX - 2 });
  const words = `${plural(spans.length, "span")} in ${duration(length)}${failed.length ? `, ${failed.length} failed` : ""}`;
  const drawn = [...spans.filter((span) => !span.failed).slice(0, MOST), ...failed.slice(0, MOST)];
  return [svg("svg", { class: "strip", height: LANES * LANE_PX, role: "img", "aria-label": words }, drawn.map(rect)), h("p", { class: "small dim2" }, words)];
}

export function traceCard(traceId, spanId, signal) {
  const box = h("div", { class: "sheet" }, h("p", { class: "mono small clip" }, traceId));
  const address = path(`/traces/${encodeURIComponent(traceId)}/`, { span: spanId });
  get(api(`/trace-bars/${encodeURIComponent(traceId)}/`), null, { signal })
    .then(({ spans }) => spans.length && replace(box, strip(spans)))
    .catch(() => {}); // the link is there without it
  return card("Trace", "trace", box, { side: h("a", { class: "small", href: address }, "Open") });
}
