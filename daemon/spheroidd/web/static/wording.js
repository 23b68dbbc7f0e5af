// Areas, times and names as people read them; numbers are in scales.js.
import { make } from "./make.js";
import { number } from "./scales.js";

export const NONE = "–";
const TIMES = { dateStyle: "medium", timeStyle: "short" };

// Four significant digits, whatever the size; whole numbers whole.
export function figure(value) {
  if (value === null || value === undefined) return NONE;
  if (Number.isInteger(value)) return number(value);
  if (Math.abs(value) >= 1000) return number(value);
  return value.toLocaleString("en", { maximumSignificantDigits: 4 });
}

export const share = (value) => `${number(value * 100)}\u00a0%`; // never broken into two lines

// Of a frame, in the unit that the page shows; null where it has none.
export const areaOf = (frame, unit) => (unit === "px" ? frame.area_px : frame.area_um2) ?? null;

// Whether it is a point of its well's curve.
export const isPlaced = (frame) => frame.state === "measured" && frame.hours !== null;

export function area(frame, unit) {
  const value = areaOf(frame, unit);
  return value === null ? NONE : `${number(value)} ${unit}`;
}

// <time>: live.js turns those with `data-age` into "3 min ago".
export function moment(stored, { age = false, seconds = false } = {}) {
  const when = new Date(stored);
  const text = when.toLocaleString([], seconds ? { ...TIMES, timeStyle: "medium" } : TIMES);
  return make("time", { datetime: when.toISOString(), title: text, "data-age": age }, text);
}

// One line of a stored name: what can't be shown is escaped, as on the command line.
export function printable(text) {
  return text.replace(/[\p{C}\p{Z}]/gu, (character) => (character === " " ? " " : escaped(character)));
}

function escaped(character) {
  const code = character.codePointAt(0);
  if (code >= 0xf780 && code <= 0xf7ff) return `\\x${(code - 0xf700).toString(16)}`; // a stray byte
  const [letter, width] = code > 0xffff ? ["U", 8] : code > 0xff ? ["u", 4] : ["x", 2];
  return `\\${letter}${code.toString(16).padStart(width, "0")}`;
}

// An address with a query; names may hold any character.
export function link(path, query) {
  const wanted = Object.entries(query).filter(([, value]) => value !== null && value !== undefined);
  return `${path}?${new URLSearchParams(wanted)}`;
}

// With the measurement in it: browsers keep pictures, and what is measured again has another.
export const pictureOf = ({ image_id, measurement_id }, width) =>
  link(`/api/v1/images/${image_id}/outline`, { width, v: measurement_id });
