// Files that were sent with an event: never shown, only downloaded.
import { h } from "../../dom/elements.js";
import { bytes } from "../../dom/format.js";
import { text } from "../../dom/text.js";
import { get } from "../../shell/api.js";
import { projectApi } from "../../shell/session.js";
import { card } from "./sections.js";

// Appends a card to `box` if there are any.
export async function attachments(box, project, eventId, signal) {
  const of = projectApi(project, `/events/${encodeURIComponent(eventId)}/attachments/`);
  const found = await get(of, null, { signal }).catch(() => []);
  if (!found.length) return;
  const rows = found.map((file) => [
    h("dt", null, h("a", { href: `${of}${encodeURIComponent(file.id)}/`, download: "" }, text(file.name, 200))),
    h("dd", null, text(file.mimetype, 80), ", ", bytes(file.size), file.isCut && h("span", { class: "dim" }, ", the first 1 MiB is kept")),
  ]);
  box.append(card("Attachments", "attachments", h("dl", { class: "kv" }, rows)));
}
