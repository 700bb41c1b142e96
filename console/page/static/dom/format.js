// Numbers, durations and sizes as people read them.
const GROUPED = new Intl.NumberFormat("en");

export function whole(number) {
  return GROUPED.format(number);
}

// Up to 99,999 in full, then 128k and 1.3M.
export function short(number) {
  if (number < 100000) return whole(number);
  const [divisor, unit] = number < 999500 ? [1e3, "k"] : number < 999.5e6 ? [1e6, "M"] : [1e9, "G"];
  const value = number / divisor;
  return `${value < 9.95 ? value.toFixed(1).replace(/\.0$/, "") : Math.round(value)}${unit}`;
}

export function plural(number, one, many = `${one}s`) {
  return `${whole(number)} ${number === 1 ? one : many}`;
}

function digits(value) {
  return value < 9.995 ? value.toFixed(2) : value < 99.95 ? value.toFixed(1) : String(Math.round(value));
}

const trimmed = (value) => digits(value).replace(/\.0+$/, "");

// Three digits: 842 µs, 31 ms, 1.42 s, 2 min 5 s, 3 h 10 min.
export function duration(milliseconds) {
  if (!Number.isFinite(milliseconds)) return "unknown";
  if (milliseconds <= 0) return "0 ms";
  if (milliseconds < 0.9995) return `${trimmed(milliseconds * 1000)} µs`;
  if (milliseconds < 999.5) return `${trimmed(milliseconds)} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 59.95) return `${digits(seconds)} s`;
  const [large, small, big, little] = seconds < 3570 ? [60, 1, "min", "s"] : seconds < 86400 ? [3600, 60, "h", "min"] : [86400, 3600, "days", "h"];
  const rounded = Math.round(seconds / small);
  const rest = rounded % (large / small);
  const count = Math.floor(rounded / (large / small));
  return `${count} ${big === "days" && count === 1 ? "day" : big}${rest ? ` ${rest} ${little}` : ""}`;
}

export function percent(share, places = 1) {
  return `${(share * 100).toFixed(places)}%`;
}

// Rounded down: 99.99 % with a crash is never shown as 100.
export function crashFree(given) {
  return `${(Math.floor(given * 100) / 100).toFixed(2)}%`;
}

export function bytes(number) {
  if (number < 1000) return `${number} B`;
  return number < 1e6 ? `${trimmed(number / 1e3)} kB` : `${trimmed(number / 1e6)} MB`;
}
