// The page of one well: its film, its curve, its numbers, its story.
import { areaCurve } from "./areacurve.js";
import { downloads } from "./download.js";
import { Film } from "./film.js";
import { filmStrip, spoken } from "./filmstrip.js";
import { flagList } from "./flags.js";
import { keep, keyboard, kept } from "./keys.js";
import { ages, ask, live, oneAtATime } from "./live.js";
import { make } from "./make.js";
import { largePicture, prefetch, UNSEEN } from "./picture.js";
import { count } from "./scales.js";
import { askReason, DONE, GONE_ON, inWords, Settler } from "./settling.js";
import { showFeatures, showNumbers } from "./shape.js";
import { lastWord, showStory } from "./story.js";
import { keyName, keyOf } from "./wells.js";
import { link, printable } from "./wording.js";

const page = document.getElementById("well");
const { plate, well } = page.dataset;
const part = (name) => page.querySelector(`[data-part="${name}"]`);
const RESTS_MS = 150; // a frame that is shown that long is looked at, not passed

const settler = new Settler(page.dataset);
const picture = largePicture(part("picture"));
const film = new Film(shown);
const strip = filmStrip(part("strip"), (place) => step(place - film.place));
const curve = areaCurve(part("curve"), (place) => step(place - film.place));
let found = { frames: [], unit: "px" }; // what /well said last
let series = null; // which field and channel is shown
let rest = 0;
let kind = ""; // what the details on the page are of
let busy = false; // a question is open: why a frame is to be excluded

// -- what is shown ------------------------------------------------------------------------------

function shown(frame, place) {
  part("play").setAttribute("aria-pressed", film.playing);
  part("play").querySelector("span").textContent = film.playing ? "Pause" : "Play";
  part("empty").hidden = Boolean(frame);
  if (!frame) return undefined;
  const words = spoken(frame, found.unit);
  part("where").textContent = `${place + 1} of ${film.frames.length}`;
  if (!film.playing) part("said").textContent = words; // not twenty sentences a second
  strip.mark(place);
  curve.mark(place);
  part("flags").replaceChildren(...(frame.flags.length ? [flagList(frame.flags, frame.checks)] : []));
  if (kind !== kindOf(frame)) {
    kind = "";
    showNumbers(part("numbers"), frame);
  }
  buttons(frame);
  clearTimeout(rest);
  rest = setTimeout(() => details(frame), RESTS_MS);
  const next = film.playing ? [1, 2, 3] : [1, -1, 2];
  prefetch(next.map((by) => film.frames[place + by]));
  return picture.show(frame, `Outline on the image ${words}`);
}

// What this frame alone has: asked for once it rests on the screen.
async function details(frame) {
  const address = link("/well", { plate, well, image: frame.image_id });
  history.replaceState(null, "", address);
  if (kind === kindOf(frame)) return;
  try {
    const [whole, story] = await Promise.all([
      ask(`/api/v1/images/${frame.image_id}`), ask(`/api/v1/images/${frame.image_id}/story`),
    ]);
    if (film.frame?.image_id !== frame.image_id) return;
    kind = kindOf(frame);
    showNumbers(part("numbers"), frame, whole);
    const objects = showFeatures(part("features"), whole);
    part("features-of").textContent = objects ? ` of ${count(objects, "object")}` : ": none";
    part("file").textContent = printable(whole.path);
    showStory(part("story"), story);
    const word = lastWord(story);
    part("word").replaceChildren(...(word ?? []));
    ages();
  } catch (error) {
    notice(inWords(error));
  }
}

const kindOf = (frame) => JSON.stringify([
  frame.image_id, frame.measurement_id, frame.state, frame.flags, frame.excluded, frame.decision, frame.area_px, frame.hours,
]);

function notice(text, place = part("notice")) {
  place.textContent = text;
  place.hidden = !text;
}

// -- what comes ---------------------------------------------------------------------------------

function chosen() {
  const all = [...new Set(found.frames.map(keyOf))];
  const choice = part("series");
  if (choice.options.length !== all.length) {
    choice.replaceChildren(...all.map((name) => make("option", { value: name }, printable(keyName(name)))));
    choice.closest("label").hidden = all.length < 2;
  }
  if (!all.includes(series)) series = all[0];
  choice.value = series;
  return found.frames.filter((frame) => keyOf(frame) === series);
}

function drawFrames(wanted = null) {
  const frames = chosen();
  strip.show(frames, found.unit);
  film.load(frames, wanted);
  curve.show(frames, found.unit);
  const waiting = found.frames.filter((frame) => frame.flags.length && !frame.excluded && !frame.decision).length;
  part("waiting").hidden = !waiting;
  part("waiting").textContent = `⚑ ${count(waiting, "frame waits", "frames wait")} for review`;
}

function neighbours() {
  for (const name of ["previous", "next"]) {
    const anchor = part(name);
    anchor.hidden = found[name] === null;
    if (found[name] === null) continue;
    anchor.href = link("/well", { plate, well: found[name] });
    anchor.querySelector("b").textContent = printable(found[name]);
  }
}

// The first time it goes to the image `wanted`, if there is one of that number.
const refresh = oneAtATime(async (wanted = null) => {
  try {
    found = await ask(link("/api/v1/well", { plate, well }));
    const image = found.frames.find((frame) => frame.image_id === wanted);
    if (image) series = keyOf(image);
    neighbours();
    drawFrames(image ? wanted : null);
    notice("", part("trouble"));
  } catch (error) {
    notice(inWords(error), part("trouble"));
  }
});

// -- what one does ------------------------------------------------------------------------------

function step(by) {
  film.step(by);
}

function buttons(frame) {
  const measured = frame.state === "measured";
  for (const button of page.querySelectorAll("[data-settle]")) {
    const restoring = button.dataset.settle === "restore";
    const pointless = restoring ? !(frame.excluded || frame.decision) : frame.excluded;
    button.disabled = !settler.allowed || !measured || pointless;
  }
}

async function settle(action) {
  const frame = film.frame;
  film.pause();
  if (!settler.allowed) return notice(settler.whyNot);
  const button = page.querySelector(`[data-settle="${action}"]`);
  if (busy || !frame || button.disabled || !(await settler.ask())) return undefined;
  if (!picture.seen(frame)) return notice(UNSEEN);
  busy = true;
  const reason = action === "exclude" ? await askReason(part("reasons"), keys) : "";
  busy = false;
  if (reason === null) return undefined;
  // One may have gone on, or what is followed has.
  if (film.frame?.image_id !== frame.image_id) return notice(GONE_ON);
  return told(settler.settle(action, frame, { reason }).event, `${DONE[action]}.`);
}

async function undo() {
  if (!settler.made.length) return notice("Nothing was decided here in this visit.");
  return told(settler.undo(), "Undone.");
}

async function told(promise, words) {
  try {
    const answer = await promise;
    await refresh();
    if (answer !== null) notice(words); // null: there is nothing to undo, it was refused; that is said
  } catch (error) {
    await refresh();
    notice(inWords(error));
  }
}

function speed(by) {
  const choice = part("speed");
  choice.selectedIndex = Math.min(Math.max(choice.selectedIndex + by, 0), choice.options.length - 1);
  film.speed = Number(choice.value);
  keep("speed", choice.value);
}

function toggle() {
  film.toggle();
  if (film.frame) shown(film.frame, film.place);
}

const keys = keyboard([
  { keys: ["ArrowLeft"], words: "the frame before", act: () => step(-1), repeats: true },
  { keys: ["ArrowRight"], words: "the frame after", act: () => step(1), repeats: true },
  { keys: ["Home"], words: "the first frame", act: () => step(-Infinity) },
  { keys: ["End"], words: "the last frame, and follow what comes", act: () => step(Infinity) },
  { keys: [" "], words: "play, pause", act: toggle },
  { keys: ["+", "-"], words: "faster, slower", act: (key) => speed(key === "+" ? 1 : -1) },
  { keys: ["f"], words: "the next flagged frame that nobody has settled", act: () => film.nextFlagged() },
  { keys: ["l"], words: "logarithmic or linear areas", act: () => part("log").click() },
  { keys: ["c"], words: "confirm this frame", act: () => settle("confirm") },
  { keys: ["x"], words: "exclude this frame", act: () => settle("exclude") },
  { keys: ["r"], words: "restore this frame: what the program says", act: () => settle("restore") },
  { keys: ["u"], words: "undo the last decision of this visit", act: undo },
]);

const ACTS = {
  first: () => step(-Infinity), back: () => step(-1), play: toggle, on: () => step(1),
  last: () => step(Infinity), flagged: () => film.nextFlagged(), help: keys.help, undo,
};

page.addEventListener("click", (event) => {
  const { act, settle: action } = event.target.closest("[data-act], [data-settle]")?.dataset ?? {};
  if (act) ACTS[act]();
  if (action) settle(action);
});
part("log").addEventListener("click", (event) => {
  const on = event.currentTarget.getAttribute("aria-pressed") !== "true";
  event.currentTarget.setAttribute("aria-pressed", on);
  curve.scale(on);
});
part("speed").addEventListener("change", () => speed(0));
part("series").addEventListener("change", (event) => {
  series = event.target.value;
  drawFrames();
});
part("who").addEventListener("click", () => settler.ask({ again: true }).then(named));
downloads(part("downloads"), (format) => curve.save(`${printable(plate)}, ${printable(well)}, area`, format));

function named() {
  part("who").textContent = settler.who || "somebody";
}

named();
part("speed").value = kept("speed", "5");
speed(0);
refresh(Number(page.dataset.image) || null);
live(link("/api/v1/live", { plate }), {
  hello: () => refresh(),
  wells: (event) => event.wells.some((one) => one.well === well) && refresh(),
});
