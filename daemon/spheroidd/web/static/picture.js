// The large picture of a frame: outlines over the original, with what must be said over it.
import { make } from "./make.js";
import { pictureOf } from "./wording.js";

export const WIDTH = 1280;
const STATES = {
  waiting: "This image waits to be read.",
  ready: "This image waits for segmentation.",
  segmented: "This image is segmented and waits for CellProfiler.",
  failed: "This image failed.",
};
const fetched = new Map(); // address → a picture that the browser has, or is getting
const KEPT = 40;

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

export function why(frame) {
  if (frame.state !== "measured") return `${STATES[frame.state] ?? frame.state} ${frame.reason ?? ""}`.trim();
  return frame.outline ? "" : "There is no outline picture of this image any more.";
}

// Fills `element` (.picture); `show(frame, said)` resolves once the picture is on the screen.
export function largePicture(element) {
  const image = make("img", { alt: "", hidden: true, decoding: "async" });
  const words = make("p", { class: "instead", hidden: true });
  const over = make("div", { class: "over" });
  const stamp = make("span", { class: "stamp", hidden: true });
  const inner = make("div", { class: "inner" }, image, words, over, stamp);
  element.replaceChildren(inner);
  let asked = 0;

  async function show(frame, alt) {
    const turn = ++asked;
    const instead = why(frame);
    const address = instead ? null : pictureOf(frame, WIDTH);
    const ready = address && picture(address);
    try {
      await ready?.decode();
    } catch {
      fetched.delete(address);
      if (turn === asked) blank("The picture can't be loaded.", alt);
      return;
    }
    if (turn !== asked) return; // another frame was asked for meanwhile
    if (instead) return blank(instead, alt);
    // One shape for all: the page doesn't jump from frame to frame.
    inner.style.setProperty("--ratio", ready.naturalWidth / ready.naturalHeight);
    image.src = address;
    image.alt = alt;
    image.hidden = false;
    words.hidden = true;
    marked(frame);
  }

  function blank(text, alt) {
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

  return { show, over, element };
}
