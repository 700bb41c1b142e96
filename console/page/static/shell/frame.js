// What stands around every view: top bar, navigation, account.
import { h, replace } from "../dom/elements.js";
import { duration } from "../dom/format.js";
import { text } from "../dom/text.js";
import { clock, zone } from "../dom/times.js";
import { say } from "./dialogs.js";
import { keysAreOff, setKeys, showKeys } from "./keys.js";
import { menu } from "./menu.js";
import { go, here, withParameters } from "./router.js";
import { path, session, signOut } from "./session.js";

// Section of the address, word, key after `g`; the last ones are behind More on a phone.
export const SECTIONS = [
  ["issues", "Issues", "i"],
  ["traces", "Traces", "t"],
  ["logs", "Logs", "l"],
  ["delivery", "Delivery", "d"],
  ["monitors", "Monitors", "m"],
  ["releases", "Releases", "r"],
  ["alerts", "Alerts", "a"],
];
const FIRST_ON_PHONE = 4;

export function sectionLink(section) {
  const project = here().query.get("project") ?? "";
  return path(`/${section}/`, section === "settings" || section === "delivery" ? {} : { project });
}

function navigation() {
  const links = SECTIONS.map(([section, word], index) =>
    h("a", { href: sectionLink(section), class: index >= FIRST_ON_PHONE ? "wide" : null, "data-section": section }, word),
  );
  const rest = SECTIONS.slice(FIRST_ON_PHONE).concat([["settings", "Settings"]]);
  const more = menu("More", (close) => rest.map(([section, word]) => h("a", { href: sectionLink(section), onclick: () => close() }, word)), { kind: "", name: "More" });
  more.classList.add("more");
  return h("nav", { class: "nav", "aria-label": "Main" }, links, more);
}

function projectMenu() {
  const box = h("span", { class: "project" });
  box.refresh = () => {
    const chosen = here().query.get("project") ?? "";
    const choose = (slug) => {
      const section = here().parts[2];
      const isList = here().parts.length <= 3 && section !== "settings" && section !== "delivery";
      go(isList ? withParameters({ project: slug }) : path("/issues/", { project: slug }));
    };
    const all = [{ slug: "", name: "All projects" }, ...session.projects];
    const entries = (close) =>
      all.map((one) =>
        h("button", { type: "button", "aria-pressed": String(one.slug === chosen), onclick: () => (close(), choose(one.slug)) }, text(one.name || one.slug), one.slug && one.slug !== one.name && h("span", { class: "dim" }, ` ${one.slug}`)),
      );
    replace(box, menu(text(`${session.organisation.slug} / ${chosen || "all"}`), entries, { name: `Project: ${chosen || "all"}` }));
  };
  return box;
}

function setTheme(theme) {
  if (theme) {
    localStorage.setItem("axonpush.theme", theme);
    document.documentElement.dataset.theme = theme;
  } else {
    localStorage.removeItem("axonpush.theme");
    delete document.documentElement.dataset.theme;
  }
}

function choices(label, all, chosen, choose) {
  const group = h("div", { class: "row switch", role: "group", "aria-label": label }, h("span", { class: "small dim" }, label));
  for (const [value, words] of all) {
    group.append(
      h("button", { type: "button", class: "btn low", "aria-pressed": String(value === chosen), onclick: (event) => {
        for (const other of group.querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === event.currentTarget));
        choose(value);
      } }, words),
    );
  }
  return group;
}

async function leave() {
  try {
    await signOut();
  } catch (error) {
    say(`You are still signed in. ${error.message}`);
    return;
  }
  location.assign("/sign-in");
}

// Times are true all the same, but lines of this machine's own programs may not be.
function skewWords() {
  const ahead = clock.ahead_ms;
  return ahead ? `This computer's clock is ${duration(Math.abs(ahead))} ${ahead > 0 ? "ahead of" : "behind"} the server's. Times here follow the server.` : "";
}

function account() {
  const skew = h("p", { class: "small dim2 skew" });
  const writes = [...session.scopes].some((scope) => scope.endsWith(":write"));
  const box = menu(
    h("span", { class: "wide" }, text(session.token.name, 40)),
    (close) => [
      h("p", { class: "small dim" }, text(session.token.name), h("br"), writes ? "reads and writes" : "reads only"),
      choices("Theme", [["", "System"], ["light", "Light"], ["dark", "Dark"]], document.documentElement.dataset.theme ?? "", setTheme),
      choices("Times", [["utc", "UTC"], ["local", "Local"]], zone.isLocal ? "local" : "utc", (value) => {
        localStorage.setItem("axonpush.times", value);
        zone.isLocal = value === "local";
        go(location.pathname + location.search, { instead: true });
      }),
      skew,
      choices("Single keys", [["on", "On"], ["off", "Off"]], keysAreOff() ? "off" : "on", (value) => setKeys(value === "on")),
      h("a", { href: path("/settings/"), onclick: () => close() }, "Settings"),
      h("button", { type: "button", onclick: leave }, "Sign out"),
    ],
    { name: "Account" },
  );
  box.addEventListener("toggle", () => (skew.textContent = skewWords()));
  return box;
}

export function frame(chip) {
  const nav = navigation();
  const projects = projectMenu();
  const help = h("button", { type: "button", class: "btn low wide", "aria-label": "Keys", onclick: showKeys }, "?");
  const header = h(
    "header",
    { class: "top" },
    h("a", { class: "brand", href: path("/issues/") }, "axonpush"),
    projects,
    nav,
    h("span", { class: "grow" }),
    chip,
    help,
    account(),
  );
  const main = h("main", { id: "main", tabindex: "-1" });
  header.refresh = () => {
    projects.refresh();
    const section = here().parts[2];
    for (const link of nav.querySelectorAll("a[data-section]")) {
      link.setAttribute("href", sectionLink(link.dataset.section));
      if (link.dataset.section === section) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  };
  return { header, main };
}
