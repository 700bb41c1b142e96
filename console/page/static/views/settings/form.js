// A small form in a dialog: fields, a button, what went wrong.
import { button, h } from "../../dom/elements.js";
import { openDialog } from "../../shell/dialogs.js";

export function field(label, input, hint = "") {
  return h("label", { class: "fieldline" }, h("span", { class: "small dim2" }, label), input, hint && h("span", { class: "small dim" }, hint));
}

export function choice(name, label, options) {
  const radios = options.map(([value, words], index) => h("label", { class: "row" }, h("input", { type: "radio", name, value, checked: index === 0 }), words));
  return h("fieldset", { class: "fieldline" }, h("legend", { class: "small dim2" }, label), radios);
}

// `save` gets the values by name; the dialog closes when it resolves, and shows what it throws.
export function formDialog(title, fields, word, save) {
  const said = h("p", { class: "wrong", role: "alert" });
  const go = h("button", { type: "submit", class: "btn main" }, word);
  const cancel = button("Cancel", () => opened.close());
  const form = h("form", { class: "stack" }, fields, said, h("div", { class: "row end" }, cancel, go));
  const opened = openDialog(title, form, () => opened.close());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (go.disabled) return;
    go.disabled = true;
    said.textContent = "";
    try {
      await save(Object.fromEntries(new FormData(form)));
      opened.close();
    } catch (error) {
      said.textContent = error.message;
    } finally {
      go.disabled = false;
    }
  });
  form.querySelector("input")?.focus();
}
