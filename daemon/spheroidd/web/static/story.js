// What happened to an image, from the instrument's file to what people settled.
import { make } from "./make.js";
import { flagNames } from "./flags.js";
import { count, number } from "./scales.js";
import { figure, moment, share } from "./wording.js";

const STEPS = {
  waiting: "Seen in the watched folder",
  ready: "Read in full, ready for segmentation",
  segmented: "Ready for CellProfiler",
  measured: "In the growth curve",
  failed: "Failed",
  superseded: "Replaced by a newer version of the file",
};
const ACTIONS = {
  confirm: "confirmed", exclude: "excluded", restore: "restored", choose: "chose another object",
};

// Each kind: a title, and what belongs to it.
const KINDS = {
  step: (one) => [STEPS[one.to_state] ?? `Became ${one.to_state}`, [
    one.from_state === "failed" && "tried again", said(one.reason),
  ]],
  segmentation: (one) => ["Segmented", [
    one.model, one.provider && `on ${one.provider}`, `${number(one.seconds, 1)} s`,
    one.threshold !== null && `threshold ${figure(one.threshold)}`,
    one.peak_probability !== null && `peak probability ${share(one.peak_probability)}`,
    one.refinement, version(one), digest("model", one.model_md5),
  ]],
  batch: (one) => ["Sent to CellProfiler", [
    `pipeline ${one.pipeline}`, `batch ${one.batch_id} of ${count(one.n_images, "image")}`,
    one.finished_at && `${number(seconds(one.at, one.finished_at), 1)} s`,
    one.outcome && one.outcome !== "complete" && one.outcome, `CellProfiler ${one.cellprofiler}`,
    digest("pipeline", one.pipeline_sha256),
  ]],
  measurement: (one) => [one.run === "again" ? "Measured again" : "Measured", [
    one.area_um2 === null ? `${number(one.area_px)} px` : `${number(one.area_um2)} µm² (${number(one.area_px)} px)`,
    count(one.n_objects, "object"), one.flags.length > 0 && flagNames(one.flags),
    !one.current && "not shown any more", version(one),
  ]],
  "run failure": (one) => [`Run ${one.run_id} failed here`, [said(one.reason)]],
  review: (one) => [`${one.who} ${ACTIONS[one.action] ?? one.action}`, [
    one.action === "choose" && (one.object_number === null ? "no spheroid" : `object ${one.object_number}`),
    one.reason && `“${one.reason}”`, `event ${one.event}`,
  ]],
};

const said = (reason) => (reason && reason !== "seen" ? reason : null);
const version = (one) => `spheroidd ${one.version}`;
const digest = (what, sum) => sum && make("code", { title: `${what}: ${sum}` }, sum.slice(0, 8));
const seconds = (from, to) => (Date.parse(to) - Date.parse(from)) / 1000;

// "2.1 s later": what one waited for is seen at a glance.
function later(from, to) {
  const gap = seconds(from, to);
  if (gap < 0.05) return "";
  if (gap < 120) return `+${number(gap, 1)} s`;
  if (gap < 7200) return `+${number(gap / 60)} min`;
  return gap < 172_800 ? `+${number(gap / 3600, 1)} h` : `+${number(gap / 86_400, 1)} days`;
}

// Fills `list` (an <ol>) with the rows of /images/{id}/story.
export function showStory(list, unsorted) {
  // What a step rests on comes before it, though both were written in the same instant.
  const rows = unsorted.toSorted((one, other) =>
    one.at < other.at ? -1 : one.at > other.at ? 1 : (one.kind === "step") - (other.kind === "step"));
  list.replaceChildren(...rows.map((one, n) => {
    const [title, details] = (KINDS[one.kind] ?? (() => [one.kind, []]))(one);
    const known = details.filter(Boolean).flatMap((detail) => [" · ", detail]).slice(1);
    return make("li", { "data-kind": one.kind, "data-failed": one.to_state === "failed" },
      make("strong", {}, title), " ", make("span", { class: "details" }, known),
      make("span", { class: "soft number at" }, moment(one.at, { seconds: true }), " ", n ? later(rows[n - 1].at, one.at) : ""));
  }));
}

// Who settled last what is shown, for the frame's own panel; null: nobody.
export function lastWord(rows) {
  const word = rows.findLast((one) => one.kind === "review");
  if (!word || word.action === "restore") return null;
  const why = word.reason ? `: ${word.reason}` : "";
  return [`${word.who} ${ACTIONS[word.action]} this${why} (`, moment(word.at, { age: true }), ")"];
}
