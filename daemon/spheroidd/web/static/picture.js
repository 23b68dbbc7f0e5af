// The large picture of a frame: outlines over the original, with what must be said over it.
import { make } from "./make.js";
import { pictureOf } from "./wording.js";

const WIDTH = 1280;
const STATES = {
  waiting: "This image waits to be read.",
  ready: "This image waits for segmentation.",
  segmented: "This image is segmented and waits for CellProfiler.",
  failed: "This image failed.",
};
const fetched = new Map(); // address → a picture that the browser has, or is getting
const KEPT = 40;
const LONG_MS = 150; // the picture before stays that long: a film that plays must not flicker
export const UNSEEN = "The picture of this frame is not on the screen yet: nothing was decided.";

function picture(address) {
  let image = fetched.get(address);
  fetched.delete(address);
  if (!image) {
    image = new Image();
    image.src = address;
  }
  fetched.set(address, image); // the last one used is the last one to be forgotten
  if (fetched.size > KEPT) fetched.delete(fetched.keys().next().value);
  return image;
}

// Have pictures ready before they are asked for.
export function prefetch(frames) {
  for (const frame of frames) if (frame?.outline) picture(pictureOf(frame, WIDTH));
}

function why(frame) {
  if (frame.state !== "measured") return `${STATES[frame.state] ?? frame.state} ${frame.reason ?? ""}`.trim();
  return frame.outline ? "" : "There is no outline picture of this image any more.";
}

// Fills `element` (.picture); `show(frame, said)` resolves once the picture is on the screen.
// `seen(frame)`: whether it is, or what is said in its place.
export function largePicture(element) {
  const image = make("img", { alt: "", hidden: true, decoding: "async" });
  const words = make("p", { class: "instead", hidden: true });
  const over = make("div", { class: "over" });
  const stamp = make("span", { class: "stamp", hidden: true });
  const inner = make("div", { class: "inner" }, image, words, over, stamp);
  element.replaceChildren(inner);
  let asked = 0;
  let there = null; // the measurement that is on the screen

  async function show(frame, alt) {
    const turn = ++asked;
    const instead = why(frame);
    const address = instead ? null : pictureOf(frame, WIDTH);
    const ready = address && picture(address);
    inner.setAttribute("aria-busy", "true");
    const late = setTimeout(() => {
      if (turn === asked && !seen(frame)) blank("The picture is on its way.", alt);
    }, LONG_MS);
    let lost = "";
    try {
      await ready?.decode();
    } catch {
      fetched.delete(address);
      lost = "The picture can't be loaded.";
    }
    clearTimeout(late);
    if (turn !== asked) return; // another frame was asked for meanwhile
    inner.removeAttribute("aria-busy");
    if (instead || lost) blank(instead || lost, alt);
    else drawn(frame, ready, alt);
    there = frame.measurement_id;
  }

  function drawn(frame, ready, alt) {
    // One shape for all: the page doesn't jump from frame to frame.
    inner.style.setProperty("--ratio", ready.naturalWidth / ready.naturalHeight);
    image.src = ready.src;
    image.alt = alt;
    image.hidden = false;
    words.hidden = true;
    marked(frame);
  }

  function blank(text, alt) {
    there = null;
    image.hidden = true;
    words.hidden = false;
    words.textContent = text;
    image.alt = alt;
    stamp.hidden = true;
    inner.classList.remove("crossed");
  }

  function marked(frame) {
    inner.classList.toggle("crossed", Boolean(frame.excluded));
    const text = frame.excluded ? "excluded" : frame.decision ?? "";
    stamp.textContent = text;
    stamp.hidden = !text;
  }

  function seen(frame) {
    return frame.measurement_id === there;
  }

  return { show, seen, over, element };
}
