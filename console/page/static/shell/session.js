// Who is signed in, and what they may do. Kept in memory; the cookie is the browser's alone.
import { own, request } from "./api.js";

export const session = { organisation: null, projects: [], token: null, scopes: new Set() };

function take(told) {
  own.pageToken = told.pageToken;
  session.organisation = told.organisation;
  session.projects = told.projects;
  session.token = told.token;
  session.scopes = new Set(told.scopes);
}

export async function load() {
  take(await (await request("GET", "/session")).json());
}

export async function signIn(given) {
  take(await (await request("POST", "/session", { body: given })).json());
}

export async function signOut() {
  await request("DELETE", "/session");
}

// Why this token may not do something; "" if it may.
export function whyNot(scope) {
  return session.scopes.has(scope) ? "" : `Needs ${scope}. This token does not have it.`;
}

export function api(path) {
  return `/api/0/organizations/${encodeURIComponent(session.organisation.slug)}${path}`;
}

export function projectApi(project, path) {
  return `/api/0/projects/${encodeURIComponent(session.organisation.slug)}/${encodeURIComponent(project)}${path}`;
}

// Of a page of ours in this organisation.
export function path(below, parameters = {}) {
  const search = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== "" && value !== null && value !== undefined));
  const text = search.toString();
  return `/organizations/${encodeURIComponent(session.organisation.slug)}${below}${text ? `?${text}` : ""}`;
}
