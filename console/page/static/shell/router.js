// The address is the state: it is read into a place, and every change of state is a change of the address.
let onChange = () => {};

export function here() {
  const parts = location.pathname.split("/").filter(Boolean).map(decoded);
  return { parts, query: new URLSearchParams(location.search), hash: location.hash.slice(1) };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function go(address, { instead = false } = {}) {
  if (instead) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  onChange();
}

// The present address with other parameters; empty ones are left out. Another question begins at the first page.
export function withParameters(changes) {
  const search = new URLSearchParams(location.search);
  if (!("cursor" in changes)) search.delete("cursor");
  for (const [name, value] of Object.entries(changes)) {
    if (value === "" || value === null || value === undefined) search.delete(name);
    else search.set(name, value);
  }
  const text = search.toString();
  return location.pathname + (text ? `?${text}` : "");
}

export function change(changes, options) {
  go(withParameters(changes), options);
}

export function start(changed) {
  onChange = changed;
  addEventListener("popstate", () => onChange());
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href]");
    if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const address = link.getAttribute("href");
    if (!address.startsWith("/") || link.hasAttribute("download") || link.target) return;
    event.preventDefault();
    go(address);
  });
}
