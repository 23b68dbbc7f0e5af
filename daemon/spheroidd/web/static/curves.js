// Growth curves as small multiples: a panel for each well, where the well is on the plate.
import { draw } from "./make.js";
import { clipped, flagMark, part } from "./platemap.js";
import { colour, niceRange, number, themed } from "./scales.js";

const PAD = 3; // pixels between a panel's frame and its curve

export class CurvesPainter {
  // `view` as for the map, with `curve(name)`; `options` has `of` ("area" or "relative"),
  // `log` and `common` (one scale for all).
  constructor(view, options) {
    Object.assign(this, { view, ...options });
    this.span = [0, 1];
    this.range = [0, 1];
  }

  static sizes({ kind, columns }, room) {
    const plate = kind === "plate";
    const [left, top] = plate ? [26, 22] : [0, 0];
    const least = !plate ? 84 : columns > 24 ? 24 : columns > 12 ? 36 : 44;
    const width = Math.floor(Math.max(Math.min((room - left - 4) / columns, 230), least));
    return { width, height: Math.round(width * 0.62) + (plate ? 0 : 16), left, top, band: plate ? 0 : 16 };
  }

  // The scales that all panels share; true where they are others than before, so that every
  // curve must be drawn anew. Round ends keep them the same while new images come.
  measure(curves, first, last) {
    const before = `${this.span} ${this.range}`;
    this.span = [first, last > first ? niceRange(first, last, 8)[1] : first + 1];
    const ends = curves.map((curve) => extent(curve, curve[this.of], this.log)).filter(Boolean);
    if (ends.length) this.range = this.#rounded(Math.min(...ends.map(([low]) => low)), Math.max(...ends.map(([, high]) => high)));
    return `${this.span} ${this.range}` !== before;
  }

  #rounded(low, high) {
    if (this.log) return [nice(low, Math.floor), nice(high, Math.ceil)];
    return [0, niceRange(0, high)[1]];
  }

  // What the panels' axes are, in words.
  note(unit) {
    const [low, high] = this.range.map((end) => number(end));
    const y = this.common ? `from ${low} to ${high} ${unit}` : "each on its own scale";
    return `Each panel: ${this.of === "area" ? "area" : "relative area"}, ${y}${this.log ? " (logarithmic)" : ""}, `
      + `over ${number(this.span[0])} to ${number(this.span[1])} h.`;
  }

  empty(group, { width, height }) {
    group.append(draw("rect", { ...frame(width, height), fill: "none", stroke: themed("line"), "stroke-dasharray": "2 3" }));
  }

  draw(cell, chosen) {
    const curve = this.view.curve(cell.name);
    const { kept, value, flags } = this.view.seen(cell.name);
    part(cell, "frame", true, "rect", {
      ...frame(cell.width, cell.height), fill: curve ? themed("ground") : "url(#hatch)", "pointer-events": "all",
      stroke: chosen ? themed("ink") : themed("line"), "stroke-width": chosen ? 2.5 : 1,
    });
    const name = part(cell, "name", cell.band > 0, "text", { x: 6, y: 14, "font-size": 12, "font-weight": 600, fill: themed("ink") });
    if (name) name.textContent = clipped(cell.name, cell.width - 10);
    this.#lines(cell, curve);
    const dot = kept >= 0 && curve.placed?.[kept];
    part(cell, "dot", Boolean(dot), "circle", {
      cx: dot?.[0], cy: dot?.[1], r: cell.width < 40 ? 2 : 3.5, "stroke-width": 1, stroke: themed("ink"),
      fill: Number.isFinite(value) ? colour(this.view.share(value)) : themed("card"),
    });
    flagMark(cell, flags, this.view.well(cell.name).to_review > 0, cell.band === 0);
  }

  // The curve and its marks are drawn once, not at every step of the slider.
  #lines(cell, curve) {
    const drawn = `${this.span} ${this.range} ${this.common} ${this.log} ${this.of}`;
    if (cell.curve === curve && cell.drawn === drawn) return;
    Object.assign(cell, { curve, drawn });
    const paths = curve ? this.#paths(cell, curve) : { line: "", flagged: "", excluded: "" };
    const thin = cell.width < 60;
    part(cell, "line", paths.line !== "", "path", {
      d: paths.line, fill: "none", stroke: themed("accent"), "stroke-width": thin ? 1.25 : 1.75, "stroke-linejoin": "round",
    });
    part(cell, "flagged", paths.flagged !== "", "path", { d: paths.flagged, fill: themed("mark"), stroke: "none" });
    part(cell, "excluded", paths.excluded !== "", "path", {
      d: paths.excluded, fill: themed("ground"), stroke: themed("soft"), "stroke-width": 1.25,
    });
  }

  // One path for the line, one for all flagged points, one for all excluded ones.
  #paths(cell, curve) {
    const values = curve[this.of];
    const [low, high] = this.common ? this.range : own(extent(curve, values, this.log), this.log);
    const scale = this.log ? (value) => Math.log(value) : (value) => value;
    const [bottom, tall] = [scale(low), scale(high) - scale(low) || 1];
    const [left, wide] = [PAD + 1, cell.width - 2 * PAD - 2];
    const [top, high_] = [cell.band + PAD + 1, cell.height - cell.band - 2 * PAD - 2];
    const size = cell.width < 40 ? 1.3 : cell.width < 90 ? 2.2 : 3;
    const found = { line: [], flagged: [], excluded: [] };
    curve.placed = curve.hours.map((time, i) => {
      const value = values[i];
      if (value === null || (this.log && value <= 0)) return null;
      // What lies beyond the scale (an excluded image's area) is drawn at its edge.
      const share = Math.min(Math.max((scale(value) - bottom) / tall, 0), 1);
      const x = Math.round(10 * (left + (wide * (time - this.span[0])) / (this.span[1] - this.span[0]))) / 10;
      const y = Math.round(10 * (top + high_ * (1 - share))) / 10;
      if (curve.isExcluded[i]) found.excluded.push(`M${x - size} ${y}a${size} ${size} 0 1 0 ${2 * size} 0a${size} ${size} 0 1 0 ${-2 * size} 0z`);
      else found.line.push(`${found.line.length ? "L" : "M"}${x} ${y}`);
      if (curve.isFlagged[i]) found.flagged.push(`M${x} ${y - size * 1.2}l${size * 1.1} ${size * 2}h${-2.2 * size}z`);
      return [x, y];
    });
    return Object.fromEntries(Object.entries(found).map(([name, pieces]) => [name, pieces.join("")]));
  }
}

const frame = (width, height) => ({ x: 1, y: 1, width: width - 2, height: height - 2, rx: 3 });

// The least and the largest value that counts; null: there is none.
function extent(curve, values, log) {
  let [low, high] = [Infinity, -Infinity];
  for (const [i, value] of values.entries()) {
    if (curve.isExcluded[i] || value === null || (log && value <= 0)) continue;
    [low, high] = [Math.min(low, value), Math.max(high, value)];
  }
  return high < low ? null : [low, high];
}

function own(ends, log) {
  const [low, high] = ends ?? [1, 2];
  if (high > low) return [low, high];
  return log ? [low / 1.5, low * 1.5] : [low - (Math.abs(low) * 0.1 || 1), low + (Math.abs(low) * 0.1 || 1)];
}

// The next round number of a logarithmic scale: 1, 2 or 5 times a power of ten.
function nice(value, round) {
  const power = 10 ** Math.floor(Math.log10(value));
  const steps = [1, 2, 5, 10].map((one) => one * power);
  return round === Math.floor ? steps.findLast((step) => step <= value * 1.001) ?? power : steps.find((step) => step >= value * 0.999);
}
