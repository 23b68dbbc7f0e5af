// The review queue: one flagged frame at a time, the worst first, one key for each decision.
import { flag, flagList, FLAGS } from "./flags.js";
import { keyboard } from "./keys.js";
import { ask, live, oneAtATime } from "./live.js";
import { make } from "./make.js";
import { chooseObject } from "./markers.js";
import { largePicture, prefetch, UNSEEN } from "./picture.js";
import { Queue } from "./queue.js";
import { hours, hoursAndDays, number } from "./scales.js";
import { askReason, GONE_ON, inWords, Settler, WORDS } from "./settling.js";
import { smallCurve } from "./smallcurve.js";
import { area, link, pictureOf, printable } from "./wording.js";

const page = document.getElementById("review");
const part = (name) => page.querySelector(`[data-part="${name}"]`);
const NEIGHBOUR = 320; // pixels

const settler = new Settler(page.dataset);
const queue = new Queue();
const picture = largePicture(part("picture"));
const wells = new Map(); // well → what the API says of it, while it is looked at
const filter = { plate: page.dataset.plate || null, flag: new URLSearchParams(location.search).get("flag") };
let busy = false; // a question is open: which reason, which object

// -- what is shown ------------------------------------------------------------------------------

function show() {
  const item = queue.current;
  part("desk").hidden = !item;
  part("empty").hidden = Boolean(item);
  part("where").textContent = item ? `${number(queue.place + 1)} of ${number(queue.length)}` : "";
  for (const button of page.querySelectorAll("[data-decides]")) button.disabled = !settler.allowed;
  page.querySelector("[data-act=undo]").disabled = !settler.made.length;
  if (!item) return;
  title(item);
  part("flags").replaceChildren(flagList(item.flags, item.checks));
  picture.over.replaceChildren();
  picture.show({ ...item, state: "measured" }, `Outline on the image of ${printable(item.well)} at ${hours(item.hours)}`);
  prefetch(queue.ahead(3).map((next) => ({ ...next, state: "measured" })));
  around(item);
  for (const next of queue.ahead(1)) wellOf(next);
  if (queue.running_out) refresh();
}

function unitOf(item) {
  return item.area_um2 === null ? "px" : "µm²";
}

function title(item) {
  const { plate, well, image_id: image } = item;
  part("title").replaceChildren(
    make("a", { href: link("/well", { plate, well, image }) }, `${printable(plate)} › ${printable(well)}`),
    make("span", { class: "number" }, hoursAndDays(item.hours)),
    make("span", { class: "number" }, area(item, unitOf(item))));
}

// The frames beside it, and where it lies on its curve; both come a moment later.
async function around(item) {
  part("around").replaceChildren(beside(null, "before"), beside(null, "after"));
  part("curve").replaceChildren(smallCurve([], item.image_id, unitOf(item)));
  let found;
  try {
    found = await wellOf(item);
  } catch (error) {
    return notice(inWords(error));
  }
  if (queue.current !== item) return undefined;
  const self = found.frames.find((frame) => frame.image_id === item.image_id);
  const film = self
    ? found.frames.filter((frame) => frame.field === self.field && frame.channel === self.channel)
    : [];
  const place = film.indexOf(self);
  part("around").replaceChildren(
    beside(film[place - 1], "before", found.unit), beside(film[place + 1], "after", found.unit));
  part("curve").replaceChildren(smallCurve(film, item.image_id, found.unit));
  prefetch([film[place - 1], film[place + 1]]);
  return undefined;
}

function wellOf({ plate, well }) {
  const address = link("/api/v1/well", { plate, well });
  if (!wells.has(address)) {
    const answer = ask(address);
    wells.set(address, answer);
    answer.catch(() => wells.delete(address)); // asked for again when it is needed
  }
  return wells.get(address);
}

// One neighbour; while it is pressed, it is in the large picture's place.
function beside(frame, word, unit) {
  const button = make("button", { type: "button", "data-beside": word, "aria-label": `Show the frame ${word} in large, while pressed` });
  const caption = make("figcaption", { class: "number" }, frame ? `${word}: ${hours(frame.hours)}, ${area(frame, unit)}` : `${word}: –`);
  button.disabled = !frame;
  if (frame?.outline) {
    button.append(make("img", { src: pictureOf(frame, NEIGHBOUR), alt: `The frame ${word}`, decoding: "async" }));
  } else {
    button.append(frame ? frame.state : "no frame");
  }
  const look = () => frame && picture.show(frame, `The frame ${word}`);
  const back = () => queue.current && picture.show({ ...queue.current, state: "measured" }, "The frame itself");
  for (const name of ["pointerdown", "keydown"]) button.addEventListener(name, look);
  for (const name of ["pointerup", "pointerleave", "keyup", "blur"]) button.addEventListener(name, back);
  return make("figure", {}, button, caption);
}

function notice(text, place = part("notice")) {
  place.textContent = text;
  place.hidden = !text;
}

// -- what comes ---------------------------------------------------------------------------------

const refresh = oneAtATime(load);

async function load() {
  const since = performance.now();
  const wanted = { ...filter };
  try {
    const found = await ask(link("/api/v1/review", { ...filter, limit: queue.wanted }));
    if (wanted.plate !== filter.plate || wanted.flag !== filter.flag) return;
    notice("", part("trouble"));
    const before = queue.current;
    const gone = queue.merge(found.rows, found.total, since);
    wells.clear(); // other frames may have come
    part("empty-words").textContent = filter.plate || filter.flag
      ? "With other plates or flags there may be something." : "Every flagged measurement is settled.";
    if (gone && !busy) notice("This one was settled or judged anew meanwhile; go on with the next.");
    if (queue.current !== before || !before) show();
    else part("where").textContent = `${number(queue.place + 1)} of ${number(queue.length)}`;
  } catch (error) {
    notice(inWords(error), part("trouble"));
  }
}

async function choices() {
  const flags = part("flag-names");
  flags.append(...Object.keys(FLAGS).map((name) => make("option", { value: name }, flag(name).name)));
  flags.value = filter.flag ?? "";
  const plates = part("plates");
  try {
    const rows = await ask("/api/v1/plates");
    const named = rows.filter((row) => row.plate);
    plates.append(...named.map((row) => make("option", { value: row.plate }, printable(row.plate))));
  } catch (error) {
    notice(inWords(error), part("trouble"));
  }
  plates.value = filter.plate ?? "";
}

function filtered() {
  filter.plate = part("plates").value || null;
  filter.flag = part("flag-names").value || null;
  history.replaceState(null, "", Object.values(filter).some(Boolean) ? link("/review", filter) : "/review");
  queue.clear();
  show();
  part("empty").hidden = true; // not known yet
  refresh();
}

// -- what one does ------------------------------------------------------------------------------

function move(by) {
  notice(busy ? "A question is open: answer it, or press Esc." : "");
  if (busy) return;
  if (queue.move(by)) show();
  else if (queue.current) notice(by > 0 ? atTheEnd() : "That is the first one.");
}

function atTheEnd() {
  if (!queue.more) return "That was the last one.";
  if (queue.running_out) return "The next ones are on their way.";
  return `Of ${number(queue.length)} the worst ${number(queue.items.length)} are here; the others come once some of these are settled.`;
}

// Whether a decision can be made now; says why not.
async function ready() {
  if (!settler.allowed) notice(settler.whyNot);
  if (!settler.allowed || busy || !queue.current) return false;
  const who = await settler.ask();
  named();
  const seen = picture.seen(queue.current);
  if (!seen) notice(UNSEEN);
  return seen && who !== "";
}

async function confirm() {
  if (await ready()) send("confirm");
}

// While a question is open, nothing else is decided, and the frame asked about stays.
async function during(question) {
  if (!(await ready())) return;
  busy = true;
  const item = queue.current;
  const answer = await question(item).finally(() => {
    busy = false;
  });
  if (answer === null) return;
  if (queue.current === item) send(...answer);
  else notice(GONE_ON);
}

function exclude() {
  return during(async () => {
    const reason = await askReason(part("panel"), keys);
    return reason === null ? null : ["exclude", { reason }];
  });
}

function choose() {
  return during(async (item) => {
    try {
      const size = await ask(`/api/v1/images/${item.image_id}`); // has width and height
      if (queue.current !== item) return null;
      const chosen = await chooseObject(picture, part("panel"), keys, item, size);
      return chosen === null ? null : ["choose", { choose: chosen }];
    } catch (error) {
      notice(inWords(error));
      return null;
    }
  });
}

async function none() {
  if (await ready()) send("choose", { choose: 0 });
}

const where = (item) => `${printable(item.well)} at ${hours(item.hours)}`;

// The next one is shown at once; what the server refuses comes back, with its words.
function send(action, content = {}) {
  const item = queue.take();
  const decision = settler.settle(action, item, content);
  notice(`${WORDS[action](content)}: ${where(item)}. u undoes it.`);
  show();
  decision.event.then(() => queue.confirmed(item, performance.now()), (error) => refused(item, error));
}

async function refused(item, error) {
  notice(`${where(item)} came back. ${inWords(error)}`);
  queue.back(item);
  show();
  if (error.status !== 409) return;
  // It has changed: what it is now is what is to be decided about.
  const found = await ask(link("/api/v1/review", { plate: item.plate, well: item.well, limit: 1000 })).catch(() => null);
  const anew = found?.rows.find((row) => row.image_id === item.image_id);
  if (queue.current !== item || !found) return;
  if (anew) queue.back(anew);
  else queue.items.splice(queue.place, 1);
  wells.clear();
  show();
}

async function undo() {
  if (!settler.allowed) return notice(settler.whyNot);
  if (busy) return undefined;
  try {
    if (!settler.made.length) return notice("Nothing was decided in this visit.");
    const decision = await settler.undo();
    if (!decision) return undefined; // it was refused, and that is said
    queue.back(decision.frame);
    notice(`Undone: ${WORDS[decision.what](decision).toLowerCase()}, ${where(decision.frame)}.`);
  } catch (error) {
    notice(inWords(error));
  }
  return show();
}

const ACTS = {
  confirm, exclude, choose, none, undo, back: () => move(-1), on: () => move(1), help: () => keys.help(),
};
const keys = keyboard([
  { keys: ["c"], words: "confirm: the area is right as it stands", act: confirm },
  { keys: ["x"], words: "exclude: leave the frame out, with a reason (1 to 6)", act: exclude },
  { keys: ["o"], words: "another object is the spheroid (its number)", act: choose },
  { keys: ["0"], words: "there is no spheroid here", act: none },
  { keys: ["n", "ArrowRight"], words: "next, without deciding", act: () => move(1), repeats: true },
  { keys: ["p", "ArrowLeft"], words: "back", act: () => move(-1), repeats: true },
  { keys: ["u"], words: "undo the last decision of this visit", act: undo },
]);

page.addEventListener("click", (event) => {
  const act = event.target.closest("[data-act]")?.dataset.act;
  if (act) ACTS[act]();
});
for (const name of ["plates", "flag-names"]) part(name).addEventListener("change", filtered);
part("who")?.addEventListener("click", () => settler.ask({ again: true }).then(named));

function named() {
  if (part("who")) part("who").textContent = settler.who || "nobody yet";
}

const ANYWAY_MS = 30_000;
let soon = 0;
let waiting = null; // how many, as the overview said last
let asked = 0;

// Many events within a moment are one reason to ask.
function changed() {
  clearTimeout(soon);
  soon = setTimeout(refresh, 300);
}

// The overview comes every second while images come; the queue is asked for when it is another
// one than ours. One may come as another goes, so it is asked for now and then anyway.
function status({ totals }) {
  const counted = filter.plate || filter.flag ? waiting : queue.total;
  const same = totals.to_review === waiting && totals.to_review === counted;
  if (same && performance.now() - asked < ANYWAY_MS) return;
  waiting = totals.to_review;
  asked = performance.now();
  changed();
}

named();
choices();
refresh();
live("/api/v1/live", { hello: changed, status });
