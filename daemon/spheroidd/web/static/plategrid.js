// A plate as a grid of wells to look at, walk through and choose from. What is drawn in each
// well is its painter's matter (platemap.js, curves.js).
import { draw } from "./make.js";
import { themed } from "./scales.js";
import { printable } from "./wording.js";

const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

// A, B, … Z, AA, … AF
const rowName = (row) => (row > 25 ? "A" : "") + String.fromCharCode(65 + (row % 26));

// Write an attribute only where it says something new: a redraw touches what has changed.
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
  }
  return element;
}

export class PlateGrid {
  // `on` has `choose(names, add)` (all in or all out), `open(name)`, `point(name or null, element)`
  // and `label(name)` (a well in words).
  constructor(host, on) {
    Object.assign(this, { host, on, cells: new Map(), places: new Map(), at: [0, 0], chosen: new Set() });
    host.addEventListener("click", (event) => this.#click(event));
    host.addEventListener("dblclick", (event) => this.#open(event.target.closest("[data-well]")));
    host.addEventListener("keydown", (event) => this.#key(event));
    host.addEventListener("pointerdown", (event) => this.#drag(event));
    host.addEventListener("pointerover", (event) => this.#point(event.target.closest("[data-well]")));
    host.addEventListener("pointerleave", () => this.#point(null));
    host.addEventListener("focusin", (event) => this.#focused(event.target.closest("[data-at]")));
    host.addEventListener("focusout", () => this.#point(null));
  }

  // Draw all anew. `sizes` has width and height of a well, left and top of the heads, in pixels.
  build(plate, painter, sizes) {
    const { geometry, wells } = plate;
    Object.assign(this, { geometry, painter, sizes, cells: new Map(), places: new Map() });
    const held = this.host.contains(document.activeElement);
    const names = new Map(wells.map((well) => [`${well.row},${well.column}`, well.well]));
    const heads = geometry.kind === "plate";
    this.svg = draw("svg", {
      class: "plate-grid", role: "grid", "aria-multiselectable": "true", "aria-label": `Wells of plate ${printable(plate.plate)}`,
      "aria-rowcount": geometry.rows + heads, "aria-colcount": geometry.columns + heads,
      width: sizes.left + geometry.columns * sizes.width + 2, height: sizes.top + geometry.rows * sizes.height + 2,
    }, hatch());
    if (heads) this.svg.append(this.#row(-1, names, heads));
    for (let row = 0; row < geometry.rows; row++) this.svg.append(this.#row(row, names, heads));
    const { scrollLeft } = this.host;
    this.host.replaceChildren(this.svg);
    this.host.scrollLeft = scrollLeft;
    this.#rove(...(this.places.has(`${this.at}`) ? this.at : [0, 0]), held);
  }

  paint(name) {
    const cell = this.cells.get(name);
    if (cell) this.painter.draw(cell, this.chosen.has(name));
  }

  paintAll() {
    for (const name of this.cells.keys()) this.paint(name);
  }

  // In words, for whom can't see it: apart from the drawing, which may be in motion.
  label() {
    for (const [name, { group }] of this.cells) {
      set(group, { "aria-label": this.on.label(name), "aria-selected": this.chosen.has(name) });
    }
  }

  #row(row, names, heads) {
    const group = draw("g", { role: "row", "aria-rowindex": row + 1 + heads });
    for (let column = heads ? -1 : 0; column < this.geometry.columns; column++) {
      const place = `${row},${column}`;
      const made = row < 0 || column < 0 ? this.#head(row, column) : this.#cell(row, column, names.get(place));
      set(made, { "data-at": place, tabindex: -1, "aria-colindex": column + 1 + heads });
      this.places.set(place, made);
      group.append(made);
    }
    return group;
  }

  #head(row, column) {
    const { left, top, width, height } = this.sizes;
    const name = row < 0 && column < 0 ? "all" : row < 0 ? `${column + 1}` : rowName(row);
    const what = row < 0 && column < 0 ? "All wells" : row < 0 ? `Column ${name}` : `Row ${name}`;
    // In narrow columns every other number is left out; the wells stay where they are.
    const shown = row < 0 && width < 20 && column % 2 ? "" : name;
    return draw("g", {
      class: "head", role: row < 0 ? "columnheader" : "rowheader", "aria-label": `${what}: choose`,
      transform: `translate(${column < 0 ? 0 : left + column * width} ${row < 0 ? 0 : top + row * height})`,
    }, draw("rect", { width: column < 0 ? left : width, height: row < 0 ? top : height, fill: "transparent" }),
    draw("text", {
      x: column < 0 ? left / 2 - 2 : width / 2, y: row < 0 ? top - 6 : height / 2 + 4, "text-anchor": "middle",
      "font-size": width < 20 || height < 14 || name === "all" ? 10 : 12, fill: themed("soft"),
    }, shown));
  }

  #cell(row, column, name) {
    const { left, top, width, height } = this.sizes;
    const group = draw("g", {
      class: "cell", role: "gridcell", transform: `translate(${left + column * width} ${top + row * height})`,
    });
    if (name === undefined) {
      const place = this.geometry.kind === "plate" ? `${rowName(row)}${column + 1}: ` : "";
      set(group, { "aria-label": `${place}empty` });
      this.painter.empty(group, this.sizes);
    } else {
      group.dataset.well = name;
      this.cells.set(name, { name, group, parts: new Map(), ...this.sizes });
    }
    return group;
  }

  // -- choosing -------------------------------------------------------------------------------

  // The wells at a place: one, or for a head those of its row or column.
  #wellsAt([row, column], [toRow, toColumn] = [row, column]) {
    const spans = ([one, other], end) => (one < 0 && other < 0 ? [0, end] : [Math.max(Math.min(one, other), 0), Math.max(one, other)]);
    const [top, bottom] = spans([row, toRow], this.geometry.rows - 1);
    const [left, right] = spans([column, toColumn], this.geometry.columns - 1);
    const found = [];
    for (let y = top; y <= bottom; y++) {
      for (let x = left; x <= right; x++) {
        const name = this.places.get(`${y},${x}`)?.dataset.well;
        if (name !== undefined) found.push(name);
      }
    }
    return found;
  }

  #toggle(place) {
    const names = this.#wellsAt(place);
    if (names.length) this.on.choose(names, !names.every((name) => this.chosen.has(name)));
  }

  #click(event) {
    const target = event.target.closest("[data-at]");
    if (!target || this.dragged) return;
    const place = target.dataset.at.split(",").map(Number);
    this.#rove(...place, true);
    this.#toggle(place);
  }

  #open(target) {
    if (target) this.on.open(target.dataset.well);
  }

  #placeUnder(event) {
    const box = this.svg.getBoundingClientRect();
    const { left, top, width, height } = this.sizes;
    const { rows, columns } = this.geometry;
    const within = (value, most) => Math.min(Math.max(Math.floor(value), 0), most - 1);
    return [within((event.clientY - box.top - top) / height, rows), within((event.clientX - box.left - left) / width, columns)];
  }

  // With a mouse or a pen over several wells: all of them; a finger scrolls.
  #drag(down) {
    this.dragged = false;
    if (down.pointerType === "touch" || down.button !== 0 || !down.target.closest(".cell")) return;
    const start = this.#placeUnder(down);
    let end = start;
    const band = draw("rect", { class: "band", "pointer-events": "none" });
    const move = (event) => {
      end = this.#placeUnder(event);
      this.dragged ||= `${end}` !== `${start}`;
      if (!this.dragged) return;
      this.#span(band, start, end);
      this.svg.append(band);
    };
    const stop = (event) => {
      window.removeEventListener("pointermove", move);
      for (const name of ["pointerup", "pointercancel"]) window.removeEventListener(name, stop);
      band.remove();
      const names = this.#wellsAt(start, end);
      if (this.dragged && event.type === "pointerup" && names.length) {
        this.on.choose(names, !names.every((name) => this.chosen.has(name)));
      }
    };
    window.addEventListener("pointermove", move);
    for (const name of ["pointerup", "pointercancel"]) window.addEventListener(name, stop);
  }

  #span(band, [row, column], [toRow, toColumn]) {
    const { left, top, width, height } = this.sizes;
    set(band, {
      x: left + Math.min(column, toColumn) * width, y: top + Math.min(row, toRow) * height,
      width: (Math.abs(column - toColumn) + 1) * width, height: (Math.abs(row - toRow) + 1) * height,
    });
  }

  // -- walking --------------------------------------------------------------------------------

  #key(event) {
    const target = event.target.closest("[data-at]");
    if (!target || event.altKey || event.metaKey) return;
    const [row, column] = target.dataset.at.split(",").map(Number);
    const far = { Home: [event.ctrlKey ? 0 : row, 0], End: [event.ctrlKey ? this.geometry.rows - 1 : row, this.geometry.columns - 1] };
    if (STEPS[event.key]) this.#rove(row + STEPS[event.key][0], column + STEPS[event.key][1], true);
    else if (far[event.key]) this.#rove(...far[event.key], true);
    else if (event.key === " ") this.#toggle([row, column]);
    else if (event.key === "Enter" && target.dataset.well !== undefined) this.#open(target);
    else return;
    event.preventDefault();
  }

  // One place takes part in the order of tabs, the one where one was last.
  #rove(row, column, focus = false) {
    const next = this.places.get(`${row},${column}`);
    if (!next) return;
    this.places.get(`${this.at}`)?.setAttribute("tabindex", -1);
    this.at = [row, column];
    next.setAttribute("tabindex", 0);
    if (focus) next.focus();
  }

  #focused(target) {
    if (!target) return;
    this.#rove(...target.dataset.at.split(",").map(Number));
    this.#point(target.matches("[data-well]") ? target : null);
  }

  #point(target) {
    this.on.point(target?.dataset.well ?? null, target);
  }
}

// For wells that have no number: a pattern says so without a colour.
function hatch() {
  return draw("defs", {}, draw("pattern", {
    id: "hatch", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)",
  }, draw("rect", { width: 6, height: 6, fill: themed("card") }),
  draw("line", { x1: 0, y1: 0, x2: 0, y2: 6, stroke: themed("soft"), "stroke-width": 1.5 })));
}
