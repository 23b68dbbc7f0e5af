// Numbers over a picture's objects, to choose one of them by key or by click.
import { make } from "./make.js";
import { number } from "./scales.js";

const WAIT_MS = 1200; // for another digit of a number that others begin with

// Draws over `picture.over`; `size` is the whole image's { width, height }. Resolves with the
// number chosen, 0 for no spheroid, or null.
export function chooseObject(picture, panel, keys, item, size) {
  return new Promise((done) => {
    const placed = item.objects.filter((object) => object.x !== null && object.y !== null);
    const marks = placed.map((object) => mark(object, size, () => end(object.number)));
    const rows = item.objects.map((object) => make("button", {
      type: "button", "data-object": object.number, click: () => end(object.number),
    }, make("kbd", {}, object.number), ` ${number(object.area_px)} px${object.is_spheroid ? ", taken now" : ""}`));
    const typed = make("span", { class: "soft", role: "status" });
    panel.replaceChildren(make("strong", {}, item.objects.length ? "Which object is the spheroid?" : "No object was found."),
      ...rows,
      make("button", { type: "button", click: () => end(0) }, make("kbd", {}, "0"), " no spheroid"),
      make("button", { type: "button", class: "quiet", click: () => end(null) }, make("kbd", {}, "Esc"), " back"), typed);
    panel.hidden = false;
    picture.over.replaceChildren(...marks);

    const digits = typedNumber(item.objects.map((object) => object.number), end, (text) => {
      typed.textContent = text && `${text}…`;
      if (text) document.activeElement.blur(); // Enter means the number, not a button
    });
    const leave = keys.enter([
      { keys: [..."0123456789"], act: digits.type },
      { keys: ["Enter"], act: digits.enter },
      { keys: ["Escape", "o"], act: () => end(null) },
    ]);
    panel.querySelector("button").focus();

    function end(chosen) {
      digits.stop();
      panel.hidden = true;
      panel.replaceChildren();
      picture.over.replaceChildren();
      leave();
      done(chosen);
    }
  });
}

function mark(object, size, chosen) {
  const button = make("button", {
    type: "button", class: "mark", "data-taken": object.is_spheroid, "data-object": object.number,
    "aria-label": `Object ${object.number}, ${number(object.area_px)} px`, click: chosen,
  }, object.number);
  button.style.left = `${(100 * object.x) / size.width}%`;
  button.style.top = `${(100 * object.y) / size.height}%`;
  return button;
}

// "1" is chosen at once where no other number begins with it; else after Enter or a moment.
function typedNumber(numbers, chosen, show) {
  let text = "";
  let timer = 0;
  const start = (value) => numbers.filter((one) => `${one}`.startsWith(value));

  function reset() {
    clearTimeout(timer);
    text = "";
    show(text);
  }

  function enter() {
    const value = Number(text);
    const there = text !== "" && numbers.includes(value);
    reset();
    if (there) chosen(value);
  }

  function type(digit) {
    clearTimeout(timer);
    text += digit;
    if (text === "0") return chosen(0);
    const possible = start(text);
    if (!possible.length) return reset();
    if (possible.length === 1 && possible[0] === Number(text)) return enter();
    show(text);
    timer = setTimeout(enter, WAIT_MS);
    return undefined;
  }

  return { type, enter, stop: () => clearTimeout(timer) };
}
