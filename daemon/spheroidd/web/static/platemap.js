// Wells as on the plate, each in the colour of its number.
import { draw } from "./make.js";
import { set } from "./plategrid.js";
import { colour, inkOn, short, themed } from "./scales.js";
import { printable } from "./wording.js";

const HIGHEST = 640; // pixels of a whole plate
const TEXT_FROM = 40; // pixels of a well that has room for its number

// A part of a well's drawing, made when it is first needed, gone when it is not.
export function part(cell, name, wanted, tag, attributes) {
  let element = cell.parts.get(name);
  if (!wanted) {
    element?.remove();
    cell.parts.delete(name);
    return null;
  }
  if (!element) {
    element = draw(tag, { "pointer-events": "none" });
    cell.parts.set(name, element);
    cell.group.append(element);
  }
  return set(element, attributes);
}

// A triangle in the corner: full while somebody has to look, hollow once somebody has.
export function flagMark(cell, flags, waiting, left = false) {
  const size = Math.min(Math.max(cell.width * 0.22, 5), 11);
  const x = left ? 1 : cell.width - size - 0.5;
  return part(cell, "flag", flags > 0, "path", {
    d: `M${x + size / 2} 0.5 l${size / 2} ${size * 0.9} h${-size} z`, fill: waiting ? themed("mark") : themed("card"),
    stroke: themed("mark"), "stroke-width": waiting ? 0.5 : 1.25,
  });
}

export class MapPainter {
  // `view` has `seen(name)`, `share(value)` (0 to 1 on the scale) and `well(name)`.
  constructor(view) {
    this.view = view;
  }

  // How large wells are drawn so that the plate fits, or can be scrolled where it can't.
  static sizes({ kind, rows, columns }, room) {
    if (kind === "grid") return { ...grid(columns, room), height: 52, left: 0, top: 0, round: false };
    const least = columns > 24 ? 16 : 24; // a finger must be able to hit it
    const most = Math.min(rows > 4 ? 88 : 120, HIGHEST / rows);
    const size = Math.floor(Math.max(Math.min((room - 28) / columns, most), least));
    return { width: size, height: size, left: 26, top: 22, round: true };
  }

  empty(group, { width, height, round }) {
    group.append(shape(round, width, height, { fill: "none", stroke: themed("line"), "stroke-dasharray": "2 3" }));
  }

  draw(cell, chosen) {
    const { value, flags, excluded } = this.view.seen(cell.name);
    const told = Number.isFinite(value);
    const share = told ? this.view.share(value) : 0;
    const ink = told ? inkOn(share) : themed("ink");
    const [x, y] = [cell.width / 2, cell.height / 2];
    part(cell, "body", true, cell.round ? "circle" : "rect", {
      ...outline(cell.round, cell.width, cell.height), fill: told ? colour(share) : "url(#hatch)",
      stroke: themed(chosen ? "ink" : told ? "line" : "soft"), "stroke-width": chosen ? 3 : 1, "pointer-events": "all",
    });
    this.#texts(cell, told ? short(value) : "", ink, x, y);
    const arm = Math.min(cell.width, cell.height) * 0.28;
    part(cell, "cross", excluded, "path", {
      d: `M${x - arm} ${y - arm} l${2 * arm} ${2 * arm} m0 ${-2 * arm} l${-2 * arm} ${2 * arm}`,
      stroke: ink, "stroke-width": Math.max(1.5, arm / 6), "stroke-linecap": "round", fill: "none",
    });
    flagMark(cell, flags, this.view.well(cell.name).to_review > 0);
  }

  #texts(cell, text, ink, x, y) {
    const named = !cell.round; // names of any form have no row and column to be read from
    const shown = cell.width >= TEXT_FROM && text !== "";
    const halo = text === "" ? { "paint-order": "stroke", stroke: themed("card"), "stroke-width": 4 } : { stroke: "none" };
    const middle = { x, "text-anchor": "middle", fill: ink, ...halo };
    const number = part(cell, "number", shown, "text", { ...middle, y: named ? y + 16 : y + 4, "font-size": cell.width < 50 ? 11 : 12.5 });
    if (number && number.textContent !== text) number.textContent = text;
    const name = part(cell, "name", named, "text", { ...middle, y: y - 2, "font-size": 12, "font-weight": 600 });
    if (name) name.textContent = clipped(cell.name, cell.width);
  }
}

// Names may be long, and differ at their ends; the tooltip has them whole.
export function clipped(name, width) {
  const room = Math.max(Math.floor((width - 12) / 7.4), 4);
  const text = printable(name);
  const tail = Math.floor(room / 2);
  return text.length > room ? `${text.slice(0, room - tail - 1)}…${text.slice(-tail)}` : text;
}

const grid = (columns, room) => ({ width: Math.floor(Math.max(Math.min((room - 4) / columns, 150), 64)) });

function outline(round, width, height) {
  if (round) return { cx: width / 2, cy: height / 2, r: width * (width < 20 ? 0.42 : 0.4) };
  return { x: 3, y: 3, width: width - 6, height: height - 6, rx: 6 };
}

const shape = (round, width, height, attributes) =>
  draw(round ? "circle" : "rect", { ...outline(round, width, height), ...attributes });
