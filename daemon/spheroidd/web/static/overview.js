// The part of the overview that moves comes as HTML, made once for everybody who looks on.
import { ages, live } from "./live.js";

const part = document.getElementById("now");
const running = () => [...part.querySelectorAll("[data-plate]")].map((one) => one.dataset.plate).join("\n");
let pressed = false; // what is clicked on must not be replaced under the finger
let waiting = null;

function show(found) {
  if (pressed) {
    waiting = found;
    return;
  }
  const before = running();
  const open = [...part.querySelectorAll("details[open]")].map((one) => one.dataset.alert);
  const focused = pathTo(document.activeElement);
  const scroll = window.scrollY;
  part.innerHTML = found.html; // escaped by the server's templates
  if (running() !== before) location.reload(); // the table of finished plates is another one
  for (const one of part.querySelectorAll("details")) one.open = open.includes(one.dataset.alert);
  if (focused) part.querySelector(focused)?.focus({ preventScroll: true });
  window.scrollTo(0, scroll);
  ages();
}

// What the keyboard is on, so that it is found again in the new part.
function pathTo(element) {
  const alert = element?.closest("#now summary")?.parentElement.dataset.alert;
  if (alert) return `details[data-alert="${CSS.escape(alert)}"] summary`;
  const href = element?.closest("#now a")?.getAttribute("href");
  return href ? `a[href="${CSS.escape(href)}"]` : null;
}

part.addEventListener("pointerdown", () => (pressed = true));
for (const name of ["pointerup", "pointercancel"]) {
  window.addEventListener(name, () => setTimeout(() => { // the click comes after it
    pressed = false;
    if (waiting) show(waiting);
    waiting = null;
  }));
}

live("/api/v1/live", { status: show });
