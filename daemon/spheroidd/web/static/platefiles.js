// What the plate's page shows, as files.
import { saveCsv, saveSvg } from "./download.js";
import { hours } from "./scales.js";
import { MEASURES, seen } from "./wells.js";
import { printable } from "./wording.js";

const POINTS = ["plate", "well", "field", "channel", "hours", "area", "unit", "relative_area_pct", "image_id", "flagged", "excluded"];

function titleOf({ data, choice, time }) {
  const what = MEASURES[choice.by];
  const shown = choice.view === "map" ? `${what.title.toLowerCase()} (${what.unit(data)}) at ${hours(time)}` : "growth curves";
  return `Plate ${printable(data.plate)}: ${shown}`;
}

export function savePlate(page, format) {
  if (format === "csv") return page.choice.view === "map" ? saveMapCsv(page) : savePoints(titleOf(page), page, [...page.curves]);
  const pictures = [page.grid.svg, ...document.querySelectorAll("[data-scale] > svg, [data-key] > svg")];
  return saveSvg(titleOf(page), pictures, format, page.notes);
}

export function saveOverlay(page, format) {
  const title = `Plate ${printable(page.data.plate)}: ${page.choice.of === "area" ? "area" : "relative area"} of ${page.choice.wells.length ? "chosen" : "all"} wells`;
  if (format === "csv") return savePoints(title, page, page.shown.lines.map(({ name, curve }) => [name, curve]));
  return page.overlay.save(title, format);
}

function saveMapCsv(page) {
  const { data, choice, time } = page;
  const measure = MEASURES[choice.by];
  const rows = data.wells.map(({ well, row, column }) => {
    const curve = page.curves.get(well);
    const { value, kept, flags, excluded } = seen(curve, time, choice.by);
    const at = kept < 0 ? null : curve.hours[kept];
    return [data.plate, well, row + 1, column + 1, time, at, measure.title, value, measure.unit(data), flags, Number(excluded)];
  });
  saveCsv(titleOf(page), ["plate", "well", "row", "column", "hours", "image_hours", "measure", "value", "unit", "flagged_images", "last_excluded"], rows);
}

function savePoints(title, { data }, curves) {
  const rows = curves.flatMap(([name, curve]) => curve.hours.map((at, i) => [
    data.plate, name, curve.field, curve.channel, at, curve.area[i], data.unit, curve.relative[i], curve.image[i],
    curve.isFlagged[i], curve.isExcluded[i],
  ]));
  saveCsv(title, POINTS, rows);
}
