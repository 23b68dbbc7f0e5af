// One key each: a page's keys, their buttons, and the list of them that `?` shows.
//
// A row is { keys, words, act, shown }: `keys` as KeyboardEvent.key says, `shown` what the help
// calls them. Keys do nothing while somebody types, with Ctrl, Alt or Meta, or behind a dialog.
// They can be switched off, for people whose speech input types them by accident.
import { make } from "./make.js";

const OFF = "keys-off";
const NAMES = { ArrowLeft: "←", ArrowRight: "→", " ": "Space", Escape: "Esc" };

export function kept(name, fallback = "") {
  try {
    return localStorage.getItem(name) ?? fallback;
  } catch {
    return fallback; // storage may be forbidden
  }
}

export function keep(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // then it holds for this page
  }
}

const typing = (element) => element.closest?.("input:not([type=checkbox]), textarea, select, [contenteditable]");
// Space and Enter press a button that has the focus; frames of the film are an exception.
const presses = ({ key, target }) =>
  [" ", "Enter"].includes(key) && target.closest?.("button:not([data-frame]), a, summary");

export function keyboard(rows) {
  const modes = [rows];
  const help = helpFor(rows);

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    if (document.querySelector("dialog:modal")) return;
    if (presses(event)) {
      if (event.repeat) event.preventDefault(); // held down, Enter would answer what it opened
      return;
    }
    if (typing(event.target) && event.key !== "Escape") return;
    if (event.key === "?") return help.open();
    if (kept(OFF) && event.key.length === 1) return;
    const found = modes.at(-1).find((row) => row.keys.includes(event.key));
    if (!found) return;
    event.preventDefault();
    if (!event.repeat || found.repeats) found.act(event.key);
  });

  return {
    help: help.open,
    // Other keys for a while, until the function that this returns is called. That gives back the
    // focus, too, so what had it must be on the screen again.
    enter(other) {
      const focused = document.activeElement;
      modes.push(other);
      return () => {
        const place = modes.lastIndexOf(other);
        if (place > 0) modes.splice(place, 1);
        focused?.focus();
      };
    },
  };
}

function helpFor(rows) {
  const off = make("input", { type: "checkbox" });
  off.checked = Boolean(kept(OFF));
  off.addEventListener("change", () => keep(OFF, off.checked ? "1" : ""));
  const list = rows.filter((row) => row.words).map((row) => make("tr", {},
    make("td", {}, (row.shown ?? row.keys.map((key) => NAMES[key] ?? key)).map((key) => make("kbd", {}, key))),
    make("td", {}, row.words)));
  const close = make("button", { type: "button", class: "main", autofocus: true, click: () => dialog.close() }, "Close");
  const dialog = make("dialog", { class: "help", "aria-label": "Keys" },
    make("h2", {}, "Keys"), make("table", {}, make("tbody", {}, list)),
    make("label", {}, off, " no single-letter keys, only buttons"), make("div", { class: "bar" }, close));
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  return { open: () => dialog.showModal() };
}
