// What somebody chose to see, kept in the address after `#` so that it can be shared.
// `#view=curves&by=rate&wells=A1,B2`: what is as usual is left out.
const USUAL = { view: "map", by: "area", scale: "run", series: "", own: "", log: "", of: "area", logs: "" };

export function readChoice() {
  const found = { ...USUAL, wells: [] };
  for (const term of location.hash.slice(1).split("&")) {
    const [name, text = ""] = term.split("=");
    try {
      if (name === "wells") found.wells = text.split(",").filter(Boolean).map(decodeURIComponent);
      else if (name in USUAL) found[name] = decodeURIComponent(text);
    } catch {
      // not an escape: somebody cut the address short
    }
  }
  return found;
}

export function keepChoice(choice) {
  const terms = Object.keys(USUAL).filter((name) => choice[name] !== USUAL[name])
    .map((name) => `${name}=${encodeURIComponent(choice[name])}`);
  if (choice.wells.length) terms.push(`wells=${choice.wells.map(encodeURIComponent).join(",")}`);
  history.replaceState(history.state, "", terms.length ? `#${terms.join("&")}` : location.pathname + location.search);
}

// Elements with data-choice="name" show and change what is chosen: <select>s and checkboxes by
// their value, buttons with `value` by `aria-pressed`.
export function bindChoice(root, choice, changed) {
  const controls = [...root.querySelectorAll("[data-choice]")];
  const change = (control, value) => {
    choice[control.dataset.choice] = value;
    changed(control.dataset.choice);
  };
  for (const control of controls) {
    if (control.tagName === "BUTTON") control.addEventListener("click", () => change(control, control.value));
    else if (control.type === "checkbox") control.addEventListener("change", () => change(control, control.checked ? "1" : ""));
    else control.addEventListener("change", () => change(control, control.value));
  }
  return () => {
    for (const control of controls) {
      const value = choice[control.dataset.choice];
      if (control.tagName === "BUTTON") control.setAttribute("aria-pressed", control.value === value);
      else if (control.type === "checkbox") control.checked = value !== "";
      else control.value = value;
    }
  };
}
