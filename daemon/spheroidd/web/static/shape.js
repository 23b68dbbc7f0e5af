// The numbers of one frame: the few that everybody asks for, then all that CellProfiler found.
import { make } from "./make.js";
import { hoursAndDays, number } from "./scales.js";
import { figure, moment, NONE } from "./wording.js";

const SHAPE = "AreaShape_";
// What is a length or an area in pixels, in CellProfiler's words.
const LENGTHS = ["Perimeter", "MajorAxisLength", "MinorAxisLength", "MaxFeretDiameter", "MinFeretDiameter"];
const RATIOS = [
  ["Solidity", "solidity", "area ÷ area of the convex hull"],
  ["Eccentricity", "eccentricity", "0: a circle; 1: a line"],
  ["FormFactor", "form factor", "4π·area ÷ perimeter²; 1: a circle"],
];
const LENGTH_WORDS = {
  Perimeter: "perimeter", MajorAxisLength: "major axis", MinorAxisLength: "minor axis",
  MaxFeretDiameter: "largest diameter", MinFeretDiameter: "smallest diameter",
};

const row = (words, value, title = null) => make("div", { title }, make("dt", {}, words), make("dd", { class: "number" }, value));

// What the well's own data has of a frame.
function known(frame) {
  const rows = [row("time", frame.hours === null ? NONE : hoursAndDays(frame.hours)),
    row("taken", frame.captured_at ? moment(frame.captured_at) : NONE)];
  if (frame.state !== "measured") return rows;
  const { area_px: px, area_um2: um2 } = frame;
  if (um2 !== null) rows.push(row("area", `${number(um2)} µm²`));
  rows.push(row(um2 === null ? "area" : "area in pixels", `${number(px)} px`));
  rows.push(row("of the first", frame.relative_pct === null ? NONE : `${number(frame.relative_pct, 1)} %`, "the well's first area that is not excluded"));
  const across = 2 * Math.sqrt((um2 ?? px) / Math.PI);
  rows.push(row("diameter", px > 0 ? `${number(across, 1)} ${um2 === null ? "px" : "µm"}` : NONE, "of a circle of the same area: 2·√(area ÷ π)"));
  return rows;
}

function shapes(found) {
  const spheroid = found.objects.find((one) => one.is_spheroid && one.number === found.measurement?.object_number);
  if (!spheroid) return [];
  const size = found.measurement.pixel_size_um;
  const feature = (name) => spheroid.features[SHAPE + name] ?? null;
  const ratios = RATIOS.filter(([name]) => feature(name) !== null)
    .map(([name, words, title]) => row(words, number(feature(name), 3), title));
  const lengths = LENGTHS.filter((name) => feature(name) !== null).map((name) =>
    row(LENGTH_WORDS[name], size === null ? `${number(feature(name), 1)} px` : `${number(feature(name) * size, 1)} µm`));
  return [...ratios, ...lengths];
}

function made(found) {
  const { measurement, segmentation, batch } = found;
  const rows = [];
  if (measurement) rows.push(row("objects", number(measurement.n_objects)));
  if (segmentation) {
    rows.push(row("model", `${segmentation.model}${segmentation.provider ? ` on ${segmentation.provider}` : ""}`));
    if (segmentation.peak_probability !== null) {
      rows.push(row("peak probability", number(segmentation.peak_probability, 3), "of the mask's surest pixel"));
    }
  }
  if (batch) rows.push(row("pipeline", batch.pipeline));
  return rows;
}

// Fills `list` (a <dl>): at once with what is known, with all once `found` (/images/{id}) is
// there. Until then the rest keeps its place, so that nothing jumps while the film runs.
export function showNumbers(list, frame, found = null) {
  const rest = found ? [...shapes(found), ...made(found)] : [...list.querySelectorAll("[data-later]")];
  for (const one of rest) {
    one.dataset.later = "";
    if (!found) one.lastChild.textContent = "…";
  }
  list.replaceChildren(...known(frame), ...rest);
}

const MOST_OBJECTS = 20; // precipitate may be a thousand

// Fills `body` (a <tbody>) with every feature of every object, the spheroid first, then the
// largest; returns of how many objects.
export function showFeatures(body, found) {
  const rows = [];
  const shown = found.objects.slice(0, MOST_OBJECTS);
  for (const object of shown) {
    const what = `${object.name} ${object.number}${object.is_spheroid ? " (the spheroid)" : ""}`;
    for (const [name, value] of Object.entries(object.features)) {
      rows.push(make("tr", {}, make("td", {}, what), make("td", {}, name), make("td", { class: "number" }, figure(value))));
    }
  }
  body.replaceChildren(...rows);
  return shown.length;
}
