// What a plate's numbers say at a time: pure functions, no drawing.
import { count, hours, niceRange, niceStep, number, quantile, signed } from "./scales.js";

const RATE_HOURS = 24; // growth is looked at over as many
const RATE_LEAST_HOURS = 4; // of less time no rate is told: it would be noise
const STRAY = 0.02; // of the values at either end may lie beyond the scale of colours

// One series of a well, made ready to be asked. `flagged` and `excluded` become marks for each
// point, `kept[i]` is the last point up to i that is not excluded, `flags[i]` counts the flagged.
export class Curve {
  constructor(series) {
    const n = series.hours.length;
    const { field, channel, hours, area, relative, image } = series;
    Object.assign(this, { field, channel, hours, area, relative, image });
    this.isFlagged = new Uint8Array(n);
    this.isExcluded = new Uint8Array(n);
    for (const i of series.flagged) this.isFlagged[i] = 1;
    for (const i of series.excluded) this.isExcluded[i] = 1;
    this.kept = new Int32Array(n);
    this.flags = new Int32Array(n);
    for (let i = 0, kept = -1, flags = 0; i < n; i++) {
      if (!this.isExcluded[i] && this.area[i] !== null) kept = i;
      this.kept[i] = kept;
      this.flags[i] = flags += this.isFlagged[i];
    }
  }

  // The last point at or before a time; -1: there is none yet.
  at(time) {
    let [low, high] = [0, this.hours.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.hours[middle] <= time + 1e-6) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  // Growth up to the i-th point in per cent a day: the slope of ln(area), by least squares over
  // the last 24 hours, s per day, is e^s - 1. NaN where it can't be told.
  rate(i) {
    this.rates ??= new Map();
    if (!this.rates.has(i)) this.rates.set(i, this.#slope(i));
    return this.rates.get(i);
  }

  #slope(last) {
    let [n, x, y, xx, xy, first] = [0, 0, 0, 0, 0, NaN];
    for (let i = last; i >= 0 && this.hours[i] > this.hours[last] - RATE_HOURS - 1e-6; i--) {
      if (this.isExcluded[i] || !(this.area[i] > 0)) continue;
      const [days, log] = [(this.hours[i] - this.hours[last]) / 24, Math.log(this.area[i])];
      [n, x, y, xx, xy, first] = [n + 1, x + days, y + log, xx + days * days, xy + days * log, this.hours[i]];
    }
    if (n < 2 || this.hours[last] - first < RATE_LEAST_HOURS) return NaN;
    return 100 * Math.expm1((n * xy - x * y) / (n * xx - x * x));
  }
}

// What wells can be coloured by. `of` gives a number, or NaN where there is none.
export const MEASURES = {
  area: {
    title: "Area", of: (curve, kept) => curve.area[kept] ?? NaN, unit: (plate) => plate.unit,
    say: (value, plate) => `${number(value)} ${plate.unit}`,
  },
  relative: {
    title: "Relative area", of: (curve, kept) => curve.relative[kept] ?? NaN, unit: () => "% of the first",
    say: (value) => `${number(value)} % of the first`,
  },
  rate: {
    title: "Growth rate", of: (curve, kept) => curve.rate(kept), unit: () => "% per day",
    say: (value) => `${signed(value, 1)} % per day`,
    note: `Growth rate: the slope of ln(area) over the ${RATE_HOURS} h up to the last image at the slider's time.`,
  },
  since: {
    title: "Time since the last image", unit: () => "h", say: (value) => `last image ${hours(value)} before`,
    of: (curve, _, last, time) => Math.max(time - curve.hours[last], 0), fromZero: true,
    note: "Hours between the last image of a well and the slider's time.",
  },
  flags: {
    title: "Flagged images", of: (curve, _, last) => curve.flags[last], unit: () => "images up to then",
    say: (value) => count(value, "flagged image"), fromZero: true, whole: true,
  },
};

// A well at a time, by one measure: what the map shows of it.
export function seen(curve, time, measure) {
  const last = curve ? curve.at(time) : -1;
  if (last < 0) return { last, kept: -1, value: NaN, flags: 0, excluded: false };
  const kept = curve.kept[last];
  const apart = measure === "since" || measure === "flags"; // these need no area
  return {
    last, kept, flags: curve.flags[last], excluded: Boolean(curve.isExcluded[last]),
    value: kept < 0 && !apart ? NaN : MEASURES[measure].of(curve, kept, last, time),
  };
}

// The scale of colours for a measure: round ends, with all values between them but a few strays.
export function scaleOf(measure, values) {
  const told = values.filter(Number.isFinite).sort((a, b) => a - b);
  const { fromZero, whole } = MEASURES[measure];
  if (!told.length) return { low: 0, high: 1, step: 1, below: false, above: false };
  let [low, high] = [fromZero ? 0 : quantile(told, STRAY), fromZero ? told.at(-1) : quantile(told, 1 - STRAY)];
  [low, high] = fromZero ? [0, Math.max(niceRange(0, high)[1], whole ? 1 : 0.5)] : niceRange(low, high);
  const step = Math.max(niceStep(high - low, 4), whole ? 1 : 0);
  return { low, high, step, below: told[0] < low, above: told.at(-1) > high };
}

// Every value that a measure takes over the whole run, at each well's own images.
export function* valuesOver(curves, measure, end) {
  for (const curve of curves) {
    for (const [i, time] of curve.hours.entries()) {
      if (measure === "since") yield (curve.hours[i + 1] ?? end) - time; // just before the next one
      else yield seen(curve, time, measure).value;
    }
  }
}

// The times at which the plate was looked at: wells are taken one after the other, so images
// that are less than half an interval apart are one round, named by its last image.
export function rounds(curves) {
  const gaps = [];
  for (const { hours } of curves) {
    for (let i = 1; i < hours.length; i++) if (hours[i] > hours[i - 1]) gaps.push(hours[i] - hours[i - 1]);
  }
  const half = gaps.length ? quantile(gaps.sort((a, b) => a - b), 0.1) / 2 : 0;
  const times = [...new Set(curves.flatMap((curve) => curve.hours))].sort((a, b) => a - b);
  const found = [];
  let start = -Infinity;
  for (const time of times) {
    if (time - start < half) found[found.length - 1] = time;
    else found.push((start = time));
  }
  return found;
}

// -- series -----------------------------------------------------------------------------------

export const keyOf = ({ field, channel }) => JSON.stringify([field, channel]);

export function keyName(key) {
  const [field, channel] = JSON.parse(key);
  const parts = [field !== null && `field ${field}`, channel !== null && `channel ${channel}`].filter(Boolean);
  return parts.join(", ") || "no field or channel";
}

// The kinds of series that a plate has, by how often they are there.
export function keysOf(wells) {
  const found = new Map();
  for (const one of wells) for (const series of one.series) found.set(keyOf(series), (found.get(keyOf(series)) ?? 0) + 1);
  return [...found.keys()].sort((a, b) => found.get(b) - found.get(a));
}

// What is said of a well: in one line for a screen reader, in several in the tooltip.
export function said(curve, time, plate, well) {
  const { last, kept, flags, excluded } = seen(curve, time, "area");
  if (last < 0) return [`no area at ${hours(time)}`];
  const parts = [kept < 0 ? "no area that counts" : MEASURES.area.say(curve.area[kept], plate)];
  const rate = kept < 0 ? NaN : curve.rate(kept);
  if (Number.isFinite(rate)) parts.push(MEASURES.rate.say(rate));
  parts.push(count(flags, "flag"));
  if (well.to_review && flags) parts.push(`${number(well.to_review)} to review`);
  if (excluded) parts.push("last image excluded");
  return parts;
}
