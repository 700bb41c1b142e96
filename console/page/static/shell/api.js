// Requests to the console that served this page. A failure says what the server said.
import { clock } from "../dom/times.js";

export class Failure extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

// Set by session.js: what goes with changes, and what happens when the session has ended.
export const own = { pageToken: "", onEnded: null, isSigningIn: false };

export function query(parameters) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters ?? {})) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") search.append(name, one);
    }
  }
  const text = search.toString();
  return text ? `?${text}` : "";
}

async function fetched(path, options) {
  try {
    const began = Date.now();
    const answer = await fetch(path, { credentials: "same-origin", cache: "no-store", ...options });
    const date = Date.parse(answer.headers.get("date") ?? "");
    if (date && Date.now() - began < 2000) clock.ahead_ms = Math.abs(Date.now() - date) > 3000 ? Date.now() - date : 0;
    return answer;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(0, "The console does not answer.");
  }
}

async function detailOf(answer) {
  try {
    const told = await answer.json();
    return typeof told.detail === "string" ? told.detail : `The console answered ${answer.status}.`;
  } catch {
    return `The console answered ${answer.status}.`;
  }
}

// `isPoll`: made by a clock. It does not prolong the session, and does not wait for somebody to sign in again.
export async function request(method, path, { body, signal, isPoll = false } = {}) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET") headers["X-Axonpush-Page"] = own.pageToken;
  if (isPoll) headers["X-Axonpush-Poll"] = "1";
  if (isPoll && own.isSigningIn) throw new Failure(401, "Your session has ended.");
  const send = () => fetched(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  let answer = await send();
  if (answer.status === 401 && own.onEnded && path.startsWith("/api/")) {
    if (isPoll && own.isSigningIn) throw new Failure(401, "Your session has ended.");
    own.isSigningIn = true;
    try {
      await own.onEnded();
    } finally {
      own.isSigningIn = false;
    }
    if (method !== "GET") headers["X-Axonpush-Page"] = own.pageToken;
    answer = await send();
  }
  if (!answer.ok) throw new Failure(answer.status, await detailOf(answer));
  return answer;
}

export async function get(path, parameters, options) {
  return (await request("GET", path + query(parameters), options)).json();
}

// A page of a list and the cursors of the pages beside it; "" where there is none.
export async function page(path, parameters, options) {
  const answer = await request("GET", path + query(parameters), options);
  const cursor = { previous: "", next: "" };
  for (const link of (answer.headers.get("link") ?? "").split(/,\s*(?=<)/)) {
    const found = /rel="(\w+)"; results="(\w+)"; cursor="([\d:]+)"/.exec(link);
    if (found && found[2] === "true") cursor[found[1]] = found[3];
  }
  return { entries: await answer.json(), cursor };
}

export async function send(method, path, parameters, body) {
  const answer = await request(method, path + query(parameters), { body });
  return answer.status === 204 ? null : answer.json();
}
