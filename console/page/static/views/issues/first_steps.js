// Where nothing has ever arrived: how to send the first event. It appears by itself, because the list is read again.
import { h, replace } from "../../dom/elements.js";
import { text } from "../../dom/text.js";
import { get } from "../../shell/api.js";
import { copyButton } from "../../shell/dialogs.js";
import { api, path, projectApi, session } from "../../shell/session.js";
import { SNIPPETS } from "../snippets.js";

const EVERY_MS = 3000;

export async function firstSteps(box) {
  if (!session.scopes.has("project:read") || !session.projects.length) return;
  let dsn;
  try {
    const found = await get(`${api("/issues/")}?query=&limit=1`);
    if (found.length) return;
    const keys = await get(projectApi(session.projects[0].slug, "/keys/"));
    dsn = keys.find((key) => key.isActive && key.public.startsWith("pt_"))?.dsn.public ?? keys[0]?.dsn.public;
  } catch {
    return;
  }
  const code = (dsn ? SNIPPETS.python(dsn) : "").trim();
  const heard = h("p", { class: "dim2", role: "status" }, "Listening for the first event…");
  replace(
    box,
    h(
      "div",
      { class: "nothing" },
      h("p", null, "No events yet. Send one and it appears here by itself."),
      dsn && [h("pre", { class: "snippet", tabindex: "0" }, code, copyButton("Copy", code)), h("p", { class: "small dim2" }, "The text of a key is shown once, when it is made, and stored nowhere: put yours where the snippet says KEY. ", h("code", null, "axonpush up"), " printed the first one.")],
      h("div", { class: "row wrap" }, h("a", { class: "btn", href: path("/settings/") }, "Other languages and OpenTelemetry")),
      heard,
    ),
  );
  listen(box, heard);
}

// Messages are no errors, so they are no issues: whoever begins with one is told where it is.
function listen(box, heard) {
  const timer = setInterval(async () => {
    if (!box.isConnected) return clearInterval(timer);
    if (document.hidden) return;
    const asked = { dataset: "logs", field: ["message", "timestamp"], statsPeriod: "24h", sort: "-timestamp", per_page: 1 };
    const found = await get(api("/events/"), asked, { isPoll: true }).catch(() => ({ data: [] }));
    const [last] = found.data;
    if (last) replace(heard, "A message arrived: ", h("b", null, text(last.message, 200)), ". Messages are in the ", h("a", { href: path("/logs/", { statsPeriod: "24h" }) }, "logs"), "; errors appear here.");
  }, EVERY_MS);
}
