// Starts the page: signs in or shows who is, then shows the view of the address, and again at every change of it.
import { h, replace } from "./dom/elements.js";
import { startClock } from "./dom/times.js";
import { own } from "./shell/api.js";
import { deliveryChip } from "./shell/delivery_chip.js";
import { frame, SECTIONS, sectionLink } from "./shell/frame.js";
import { showKeys, startKeys, useKeys } from "./shell/keys.js";
import { go, here, start } from "./shell/router.js";
import { load, path, session } from "./shell/session.js";
import { empty, failure } from "./shell/states.js";
import * as event from "./views/event/view.js";
import * as issues from "./views/issues/list.js";
import * as signIn from "./views/sign_in.js";

// By section, and whether something of it is named: a function that gives the module of the view.
const VIEWS = {
  issues: [() => issues, () => event],
  traces: [() => import("./views/trace/list.js"), () => import("./views/trace/view.js")],
  logs: [() => import("./views/logs/view.js")],
  monitors: [() => import("./views/more/monitors.js"), () => import("./views/more/monitor.js")],
  releases: [() => import("./views/more/releases.js"), () => import("./views/more/release.js")],
  delivery: [() => import("./views/delivery/view.js")],
  alerts: [() => import("./views/alerts/list.js"), () => import("./views/alerts/rule.js")],
  settings: [() => import("./views/settings/view.js")],
};

const root = document.getElementById("app");
let shown = { view: null, name: "" };
let turn = 0;

async function show(main, header) {
  const place = here();
  if (!place.parts.length) return go(path("/issues/"), { instead: true });
  header.refresh();
  const mine = ++turn;
  const [, organisation, section, ...rest] = place.parts;
  const choices = organisation === session.organisation.slug ? VIEWS[section] : null;
  const module = choices?.[Math.min(rest.length, choices.length - 1, 1)];
  // Another event of the same issue is the same view.
  const name = place.parts.slice(0, 4).join("/");
  if (shown.name === name && shown.view?.update) return shown.view.update(place);
  shown.view?.close?.();
  const isFirst = !shown.name;
  shown = { view: null, name };
  useKeys({});
  if (!module) return replace(main, unknown(organisation));
  try {
    const view = (await module()).open(place);
    if (mine !== turn) return view.close?.();
    shown.view = view;
    replace(main, view.node);
    useKeys(view.keys);
  } catch (error) {
    replace(main, failure(error, () => location.reload()));
  }
  if (!isFirst) {
    scrollTo(0, 0);
    main.focus({ preventScroll: true });
  }
}

function unknown(organisation) {
  document.title = "Not here · axonpush";
  const isOther = organisation && organisation !== session.organisation.slug;
  const words = isOther ? `This token belongs to ${session.organisation.slug} and sees nothing of ${organisation.slice(0, 64)}.` : "There is no such page.";
  return h("div", { class: "card" }, h("h1", { class: "hide" }, "Not here"), empty(words, h("a", { class: "btn", href: path("/issues/") }, "Issues")));
}

const visit = (section) => () => go(sectionLink(section));

async function begin() {
  if (here().parts[0] === "sign-in") return signIn.open(root);
  try {
    await load();
  } catch (error) {
    if (error.status === 401) return location.replace(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
    return replace(root, h("main", { id: "main", class: "alone" }, failure(error, () => location.reload())));
  }
  own.onEnded = onlyOnce(signIn.again);
  const { header, main } = frame(deliveryChip());
  replace(root, header, main);
  const keys = Object.fromEntries(SECTIONS.map(([section, word, key]) => [`g ${key}`, [`go to ${word}`, visit(section)]]));
  startKeys({ ...keys, "g s": ["go to Settings", visit("settings")], "?": ["show the keys", showKeys], "/": ["search", search] });
  startClock();
  start(() => show(main, header));
  await show(main, header);
}

function search() {
  const field = document.querySelector("main .query input");
  field?.focus();
  return Boolean(field);
}

// Several requests may meet the end of a session; one dialog asks.
function onlyOnce(ask) {
  let asking = null;
  return () => (asking ??= ask().finally(() => (asking = null)));
}

begin();
