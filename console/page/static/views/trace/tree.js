// A trace as rows: spans below their parents, runs of like siblings as one row, errors and logs at their spans.
const LIKE_SIBLINGS = 5;

function likeness(span) {
  return `${span.name}\u0000${span.service}\u0000${span.work}`;
}

function note(kind, at, level, words, more) {
  return { kind, at, level, words, ...more };
}

// Nodes by id. Every span is in the tree once: a parent that was not sent has a row of its own, and of spans that are
// each other's parents the earliest is a root.
export function build({ spans, errors = [], logs = [] }) {
  const nodes = new Map();
  for (const span of spans) {
    if (!nodes.has(span.id)) nodes.set(span.id, { ...span, kind: "span", children: [], notes: [] });
  }
  const roots = [];
  const missing = new Map();
  for (const node of nodes.values()) {
    const parent = node.parent === node.id ? undefined : nodes.get(node.parent);
    if (parent) parent.children.push(node);
    else if (node.parent && node.parent !== node.id) missing.set(node.parent, [...(missing.get(node.parent) ?? []), node]);
    else roots.push(node);
  }
  for (const [id, children] of missing) {
    const start = Math.min(...children.map((child) => child.start));
    const end = Math.max(...children.map((child) => child.start + child.duration));
    roots.push({ kind: "missing", id, name: "parent was not sent", service: "", start, duration: end - start, children, notes: [] });
  }
  const reached = new Set();
  const reach = (first) => {
    const waiting = [first];
    while (waiting.length) {
      const node = waiting.pop();
      if (reached.has(node)) continue;
      reached.add(node);
      waiting.push(...node.children);
    }
  };
  roots.forEach(reach);
  for (const node of nodes.values()) {
    if (reached.has(node)) continue;
    nodes.get(node.parent).children = nodes.get(node.parent).children.filter((child) => child !== node);
    roots.push(node);
    reach(node);
  }
  const placed = [...errors.map((error) => [error.span_id, note("error", error.start_timestamp * 1000, error.level, error.title, { error })]), ...logs.map((log) => [log.span_id, note("log", Number(log.timestamp_precise) / 1e6, log.severity, log.message, { log })])];
  const others = [];
  for (const [id, one] of placed) (nodes.get(id)?.notes ?? others).push(one);
  roots.sort((one, other) => one.start - other.start);
  return { roots, nodes, others: others.sort((one, other) => one.at - other.at) };
}

// Children in time order, runs of like leaves as one group.
function grouped(node) {
  const children = [...node.children].sort((one, other) => one.start - other.start);
  const made = [];
  for (let index = 0; index < children.length; ) {
    let end = index + 1;
    const isLeaf = (one) => !one.children.length && !one.notes.length && !one.failed;
    while (end < children.length && isLeaf(children[index]) && isLeaf(children[end]) && likeness(children[end]) === likeness(children[index])) end += 1;
    const run = children.slice(index, end);
    if (run.length >= LIKE_SIBLINGS) {
      const begin = run[0].start;
      const last = Math.max(...run.map((one) => one.start + one.duration));
      const sum = run.reduce((total, one) => total + one.duration, 0);
      made.push({ ...run[0], kind: "group", id: `${run[0].id}+${run.length}`, count: run.length, start: begin, duration: last - begin, sum, children: run, notes: [] });
    } else made.push(...run);
    index = end;
  }
  return made;
}

// What is drawn, in order: [{node, level, position, siblings}]. Groups are closed unless they are in `opened`.
export function rows(tree, { closed, opened, withLogs = true, keep = null }) {
  const found = [];
  const waiting = [];
  const push = (list, level) => {
    for (let index = list.length - 1; index >= 0; index -= 1) waiting.push({ node: list[index], level, position: index + 1, siblings: list.length });
  };
  push(tree.others.filter((one) => withLogs || one.kind === "error"), 1);
  push(tree.roots, 1);
  while (waiting.length) {
    const row = waiting.pop();
    const { node, level } = row;
    if (keep && node.kind === "span" && !keep.has(node.id)) continue;
    if (keep && (node.kind === "group" || node.kind === "log")) continue;
    found.push(row);
    if (!node.children) continue;
    const isOpen = node.kind === "group" ? opened.has(node.id) : !closed.has(node.id);
    row.isOpen = node.children.length + node.notes.length ? isOpen : null;
    if (!isOpen) continue;
    const below = node.kind === "group" ? node.children : keep ? [...node.children].sort((one, other) => one.start - other.start) : grouped(node);
    const notes = node.notes.filter((one) => withLogs || one.kind === "error");
    push([...below, ...notes].sort((one, other) => (one.start ?? one.at) - (other.start ?? other.at)), level + 1);
  }
  return found;
}

// Failed spans, spans with errors, and everything above them.
export function failedPath(tree) {
  const keep = new Set();
  for (const node of tree.nodes.values()) {
    if (!node.failed && !node.notes.some((one) => one.kind === "error")) continue;
    for (let one = node; one && !keep.has(one.id); one = tree.nodes.get(one.parent)) keep.add(one.id);
  }
  return keep;
}

export function extent(tree) {
  let begin = Infinity;
  let end = -Infinity;
  for (const node of tree.nodes.values()) {
    begin = Math.min(begin, node.start);
    end = Math.max(end, node.start + node.duration);
  }
  return Number.isFinite(begin) ? { begin, length: Math.max(end - begin, 0.001) } : { begin: 0, length: 1 };
}

// 4 to 6 marks, a step of 1, 2 or 5 x 10^n.
export function ticks(length) {
  const rough = length / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough * 0.8) ?? 10);
  return Array.from({ length: Math.floor(length / step) + 1 }, (_, index) => index * step);
}

export function ownTime(node) {
  const parts = node.children.map((child) => [Math.max(child.start, node.start), Math.min(child.start + child.duration, node.start + node.duration)]).filter(([begin, end]) => end > begin);
  parts.sort((one, other) => one[0] - other[0]);
  let covered = 0;
  let until = -Infinity;
  for (const [begin, end] of parts) {
    covered += Math.max(0, end - Math.max(begin, until));
    until = Math.max(until, end);
  }
  return Math.max(0, node.duration - covered);
}
