// In with a token, or with the one-time link of `axonpush up`, whose code stands behind # and reaches no log.
import { button, h, replace } from "../dom/elements.js";
import { copyButton } from "../shell/dialogs.js";
import { load, session, signIn } from "../shell/session.js";

const MINT = "axonpush tokens mint --scope event:read --scope org:read --scope project:read";

// Only paths of this page: never another host.
function nextPath() {
  const next = new URLSearchParams(location.search).get("next") ?? "";
  return /^\/organizations\/[^\\]*$/.test(next) ? next : "/";
}

function form(done, { title = "axonpush", first = "" } = {}) {
  const said = h("p", { class: "wrong", role: "alert" }, first);
  const field = h("input", { id: "token", type: "password", name: "password", class: "field grow", autocomplete: "current-password", spellcheck: "false", required: true, "aria-describedby": "said" });
  said.id = "said";
  const go = h("button", { type: "submit", class: "btn main" }, "Sign in");
  const box = h(
    "form",
    { class: "sign-in" },
    h("h1", null, title),
    h("label", { for: "token" }, "Token"),
    h("div", { class: "row" }, field, go),
    said,
    h("p", { class: "small dim2" }, "Make one:"),
    h("div", { class: "row code" }, h("code", null, MINT), copyButton("Copy", MINT)),
    h("p", { class: "small dim2" }, "or open the link that ", h("code", null, "axonpush up"), " printed."),
  );
  box.addEventListener("submit", async (event) => {
    event.preventDefault();
    const token = field.value.trim();
    if (!token) return field.focus();
    go.textContent = "Signing in…";
    try {
      await signIn({ token });
      await done();
    } catch (error) {
      said.textContent = error.status === 401 ? "This token is not known or was revoked." : error.message;
      field.focus();
    } finally {
      go.textContent = "Sign in";
    }
  });
  return { box, field };
}

async function byLink(code) {
  try {
    await signIn({ code });
    return "";
  } catch (error) {
    if (error.status !== 401) return error.message;
  }
  try {
    await load();
    return "";
  } catch {
    return "This link has been used. `axonpush up` prints a new one at each start.";
  }
}

export async function open(root) {
  document.title = "Sign in · axonpush";
  const code = new URLSearchParams(location.hash.slice(1)).get("code") ?? "";
  let first = "";
  if (code) {
    history.replaceState(null, "", location.pathname + location.search);
    first = await byLink(code);
    if (!first) return location.replace(nextPath());
  }
  const { box, field } = form(() => location.replace(nextPath()), { first });
  replace(root, h("main", { id: "main", class: "alone" }, box));
  field.focus();
}

// Over the page, when the session has ended: nothing that stands on the page is lost.
// With a token of another organisation, the page begins anew: what stands there is not its.
export function again() {
  return new Promise((resolve) => {
    const before = session.organisation?.slug;
    const dialog = h("dialog", { class: "session" });
    const done = () => {
      if (session.organisation.slug !== before) return location.assign("/");
      dialog.close();
      dialog.remove();
      return resolve();
    };
    const { box, field } = form(done, { title: "Your session has ended" });
    dialog.append(box, button("Leave this page", () => location.assign("/sign-in"), { kind: "quiet" }));
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    document.body.append(dialog);
    dialog.showModal();
    field.focus();
  });
}
