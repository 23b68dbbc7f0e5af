// A well's film as a strip of small pictures, one button each.
import { flagNames, symbols } from "./flags.js";
import { make } from "./make.js";
import { hours } from "./scales.js";
import { area, pictureOf } from "./wording.js";

const WIDTH = 160;
const SHORT = { waiting: "to be read", ready: "to segment", segmented: "to measure", failed: "failed" };

// What one frame is, in one sentence: for the title, and for who can't see the picture.
export function spoken(frame, unit) {
  const parts = [frame.hours === null ? "time unknown" : `at ${hours(frame.hours)}`];
  parts.push(frame.state === "measured" ? area(frame, unit) : SHORT[frame.state] ?? frame.state);
  if (frame.flags.length) parts.push(flagNames(frame.flags));
  if (frame.excluded) parts.push("excluded");
  else if (frame.decision) parts.push(frame.decision);
  return parts.join(", ");
}

const key = (frame, unit) => JSON.stringify([
  frame.measurement_id, frame.state, frame.area_px, frame.flags, frame.excluded, frame.decision, frame.outline, frame.hours, unit,
]);

function button(frame, unit) {
  const words = spoken(frame, unit);
  const picture = frame.outline
    ? make("img", { src: pictureOf(frame, WIDTH), alt: "", loading: "lazy", decoding: "async", width: 112, height: 84 })
    : make("span", { class: "none" }, SHORT[frame.state] ?? "no picture");
  return make("button", {
    type: "button", title: words, "aria-label": words, tabindex: -1, "data-frame": frame.image_id,
    "data-state": frame.state, "data-excluded": frame.excluded, "data-decision": frame.decision,
  },
    make("span", { class: "thumb" }, picture, make("span", { class: "signs" }, symbols(frame.flags))),
    make("span", { class: "when number" }, frame.hours === null ? "–" : hours(frame.hours)));
}

// Fills `list` (an <ol>); `picked(place)` is called when a frame is chosen.
export function filmStrip(list, picked) {
  let known = []; // of each place: what it shows, and its <li>
  let current = -1;
  list.addEventListener("click", (event) => {
    const chosen = event.target.closest("[data-frame]");
    if (chosen) picked([...list.children].indexOf(chosen.parentElement));
  });

  // Only what changed is made anew: a long film stays where it was scrolled to.
  function show(frames, unit) {
    const before = new Map(known.map((one) => [one.id, one]));
    known = frames.map((frame) => {
      const id = frame.image_id;
      const content = key(frame, unit);
      const old = before.get(id);
      return old?.content === content ? old : { id, content, item: make("li", {}, button(frame, unit)) };
    });
    const items = known.map((one) => one.item);
    const same = items.length === list.children.length && items.every((item, n) => item === list.children[n]);
    if (!same) {
      const focused = list.contains(document.activeElement);
      const scrolled = list.scrollLeft;
      list.replaceChildren(...items);
      list.scrollLeft = scrolled;
      if (focused) items[Math.min(current, items.length - 1)]?.firstChild.focus();
    }
  }

  function mark(place) {
    const moved = place !== current || !list.querySelector("[aria-current]");
    for (const old of list.querySelectorAll("[aria-current]")) {
      old.removeAttribute("aria-current");
      old.tabIndex = -1;
    }
    current = place;
    const chosen = list.children[place]?.firstChild;
    if (!chosen) return;
    chosen.setAttribute("aria-current", "true");
    chosen.tabIndex = 0;
    if (list.contains(document.activeElement)) chosen.focus({ preventScroll: true });
    if (moved) intoView(chosen.parentElement);
  }

  // By the strip's own scrolling: `scrollIntoView` would move the page, too.
  function intoView(item) {
    const middle = item.offsetLeft - (list.clientWidth - item.offsetWidth) / 2;
    list.scrollTo({ left: middle, behavior: "auto" });
  }

  return { show, mark };
}
