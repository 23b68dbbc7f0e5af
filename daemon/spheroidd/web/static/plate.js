// The page of a plate: asks for its data, hears what changes, and has all parts draw it.
import { bindChoice, keepChoice, readChoice } from "./choice.js";
import { CurvesPainter } from "./curves.js";
import { downloads } from "./download.js";
import { key, scaleBar } from "./legend.js";
import { ages, ask, live } from "./live.js";
import { make } from "./make.js";
import { Overlay } from "./overlay.js";
import { PlateGrid } from "./plategrid.js";
import { MapPainter } from "./platemap.js";
import { Player } from "./player.js";
import { saveOverlay, savePlate } from "./platefiles.js";
import { count, hours, number } from "./scales.js";
import { Tip } from "./tip.js";
import { Curve, MEASURES, keyName, keyOf, keysOf, rounds, scaleOf, said, seen, valuesOver } from "./wells.js";
import { link, moment, printable } from "./wording.js";

const REST_MS = 150; // words for screen readers wait until nothing moves
const FRAME = ["unit", "start", "geometry"]; // what the numbers of all wells are told in
const FEW = 24; // wells whose curves are shown without being chosen
const AGAIN_MS = 5000;
const LINKS = 12; // wells that can be opened by a link below the overlay

const root = document.querySelector("[data-plate]");
const one = (name) => root.querySelector(`[data-${name}]`);
const wellPage = (well, image) => link("/well", { plate: root.dataset.plate, well, image });

class PlatePage {
  constructor() {
    this.wells = new Map();
    this.curves = new Map();
    this.choice = readChoice();
    this.time = 0;
    this.tip = new Tip();
    this.overlay = new Overlay(one("overlay"), (well, image) => location.assign(wellPage(well, image)));
    this.grid = new PlateGrid(one("grid"), {
      choose: (names, add) => this.choose(names, add),
      open: (name) => location.assign(wellPage(name)),
      label: (name) => this.#sentence(name),
      point: (name, element) => (name === null ? this.tip.hide() : this.tip.show(element, this.#tipLines(name))),
    });
    this.player = new Player(one("player"), (time, moving) => this.#timeIs(time, moving));
    this.showChoice = bindChoice(root, this.choice, (name) => this.#chosenOther(name));
    this.#listen();
  }

  #listen() {
    one("all").addEventListener("click", () => this.choose([...this.wells.keys()], true));
    one("none").addEventListener("click", () => this.choose([...this.wells.keys()], false));
    downloads(one("plate-files"), (format) => savePlate(this, format));
    downloads(one("overlay-files"), (format) => saveOverlay(this, format));
    document.documentElement.addEventListener("themechange", () => this.painter && this.build());
    window.addEventListener("hashchange", () => {
      Object.assign(this.choice, readChoice());
      if (this.data) this.#take();
    });
    let width = 0;
    new ResizeObserver(([{ contentRect }]) => {
      if (!this.data || Math.abs(contentRect.width - width) < 2) return;
      width = contentRect.width;
      requestAnimationFrame(() => this.build());
    }).observe(one("grid"));
  }

  // -- data -----------------------------------------------------------------------------------

  // Everything, at first and after every interruption. What is told meanwhile may be newer.
  async load() {
    const turn = this.turn = (this.turn ?? 0) + 1;
    this.early ??= [];
    try {
      const data = await ask(link("/api/v1/plate", { plate: root.dataset.plate }));
      if (turn !== this.turn) return; // it was asked for again meanwhile
      one("trouble").hidden = true;
      this.data = data;
      this.wells = new Map(data.wells.map((well) => [well.well, well]));
      this.#take();
      for (const told of this.early.filter(({ seq }) => seq > data.seq)) this.#hear(told);
    } catch (error) {
      one("trouble").hidden = false;
      one("trouble").textContent = [error.message, error.hint].filter(Boolean).join(" ");
      setTimeout(() => turn === this.turn && this.load(), AGAIN_MS);
    } finally {
      if (turn === this.turn) this.early = null;
    }
  }

  // Some wells have changed.
  hear(told) {
    if (this.early) this.early.push(told);
    else if (this.data) this.#hear(told);
  }

  #hear(told) {
    const { wells } = told;
    // Where the frame of all numbers is another one, all wells must be asked for anew.
    const framed = FRAME.every((name) => JSON.stringify(told[name]) === JSON.stringify(this.data[name]));
    if (!framed || wells.some(({ well }) => !this.wells.has(well))) return void this.load();
    for (const well of wells) {
      this.wells.set(well.well, well);
      this.#curveOf(well);
    }
    this.data.wells = [...this.wells.values()];
    const names = new Set(wells.map(({ well }) => well));
    this.player.over(rounds([...this.curves.values()]));
    this.#rescale();
    for (const name of names) this.grid.paint(name);
    if (this.#overlaid().some((name) => names.has(name))) this.#showOverlay();
    this.#head();
  }

  #curveOf(well) {
    const wanted = this.choice.series;
    const series = wanted === "" ? well.series[0] : well.series.find((each) => keyOf(each) === wanted);
    if (series?.hours.length) this.curves.set(well.well, new Curve(series));
    else this.curves.delete(well.well);
  }

  // Take over the data and what is chosen, and draw all.
  #take() {
    const keys = keysOf(this.data.wells);
    if (!keys.includes(this.choice.series)) this.choice.series = "";
    one("series").hidden = keys.length < 2;
    one("series").querySelector("select").replaceChildren(make("option", { value: "" }, "first of each well"),
      ...keys.map((each) => make("option", { value: each }, printable(keyName(each)))));
    this.choice.wells = this.choice.wells.filter((name) => this.wells.has(name));
    if (!(this.choice.by in MEASURES)) this.choice.by = "area";
    this.curves.clear();
    for (const well of this.data.wells) this.#curveOf(well);
    this.painter = null; // the old one has other wells
    this.player.over(rounds([...this.curves.values()]));
    this.build();
    this.#showOverlay();
    this.#head();
    root.dataset.ready = "yes";
  }

  // -- drawing --------------------------------------------------------------------------------

  build() {
    const { choice, data } = this;
    const curves = choice.view === "curves";
    root.dataset.view = choice.view;
    root.dataset.size = data.geometry.columns > 24 ? "large" : "usual";
    this.showChoice();
    for (const each of root.querySelectorAll("[data-only]")) each.hidden = each.dataset.only !== choice.view;
    const Painter = curves ? CurvesPainter : MapPainter;
    this.painter = new Painter(this.view(), {
      of: choice.by === "relative" ? "relative" : "area", log: choice.log !== "", common: choice.own === "",
    });
    this.grid.chosen = new Set(choice.wells);
    this.grid.build(data, this.painter, Painter.sizes(data.geometry, one("grid").clientWidth));
    this.scale = null;
    this.#rescale();
    one("key").replaceChildren(key(choice.view));
    this.#rest();
  }

  // What painters ask.
  view() {
    return {
      seen: (name) => seen(this.curves.get(name), this.time, this.choice.by),
      share: (value) => (value - this.scale.low) / (this.scale.high - this.scale.low),
      curve: (name) => this.curves.get(name),
      well: (name) => this.wells.get(name),
    };
  }

  // The scales, which all wells share: where one has changed, all are painted.
  #rescale() {
    const { by, scale: over } = this.choice;
    const curves = [...this.curves.values()];
    const values = over === "run"
      ? [...valuesOver(curves, by, this.player.end)] : curves.map((curve) => seen(curve, this.time, by).value);
    const scale = scaleOf(by, values);
    const other = JSON.stringify(scale) !== JSON.stringify(this.scale);
    const panels = this.painter.measure?.(curves, Math.min(...curves.map(({ hours: [first] }) => first), this.player.end), this.player.end);
    this.scale = scale;
    if (other) {
      const { title, unit } = MEASURES[by];
      one("scale").replaceChildren(scaleBar(title, unit(this.data), scale, by));
    }
    if (other || panels) this.grid.paintAll();
    const notes = [this.painter.note?.(this.painter.of === "area" ? this.data.unit : "%"), MEASURES[by].note, this.#reduced()];
    this.notes = notes.filter(Boolean);
    one("note").textContent = this.notes.join(" ");
  }

  // Fewer points than there are: that must be said.
  #reduced() {
    const shown = this.data.wells.flatMap(({ series }) => series.map(({ hours }) => hours.length)).reduce((sum, n) => sum + n, 0);
    const images = this.data.wells.reduce((sum, well) => sum + well.images, 0);
    if (shown === images) return "";
    const thinned = this.data.wells.some(({ series }) => series.some((each) => each.thinned));
    const kept = thinned ? "flagged and excluded ones first" : "all flagged and excluded ones among them";
    return `Drawn and saved are ${number(shown)} of ${number(images)} images, ${kept}; “Growth as CSV” has them all.`;
  }

  #timeIs(time, moving) {
    this.time = time;
    this.overlay.at(time);
    if (!this.painter) return;
    if (this.choice.scale !== "run") this.#rescale();
    this.grid.paintAll();
    if (!moving) this.#rest();
  }

  #rest() {
    clearTimeout(this.resting);
    this.resting = setTimeout(() => this.grid.label(), REST_MS);
  }

  // -- choosing -------------------------------------------------------------------------------

  choose(names, add) {
    this.hasChosen = true;
    const changed = new Set(names);
    this.choice.wells = add
      ? [...new Set([...this.choice.wells, ...names])] : this.choice.wells.filter((name) => !changed.has(name));
    keepChoice(this.choice);
    this.grid.chosen = new Set(this.choice.wells);
    for (const name of names) this.grid.paint(name);
    this.#showOverlay();
    this.#rest();
  }

  #chosenOther(name) {
    keepChoice(this.choice);
    if (name === "series") this.#take();
    else if (name === "of" || name === "logs") this.#showOverlay();
    else this.build();
  }

  // Whose curves are laid over one another: the chosen ones, or all of a small plate at first.
  #overlaid() {
    const { wells } = this.choice;
    return wells.length || this.hasChosen || this.wells.size > FEW ? wells : [...this.wells.keys()];
  }

  #showOverlay() {
    const { wells, of, logs } = this.choice;
    const lines = this.#overlaid().filter((name) => this.curves.has(name)).map((name) => ({ name, curve: this.curves.get(name) }));
    this.shown = { lines, of, log: logs !== "", unit: of === "area" ? this.data.unit : "%" };
    const all = `All ${count(lines.length, "well")}; choose some to see them alone.`;
    one("chosen").textContent = wells.length ? `${count(wells.length, "well")} chosen.` : lines.length ? all : "";
    one("nothing").hidden = lines.length > 0;
    one("overlay").hidden = one("overlay-files").hidden = !lines.length;
    this.showChoice();
    const links = wells.slice(0, LINKS).map((name) => make("a", { href: wellPage(name) }, printable(name)));
    const more = wells.length > LINKS ? [`and ${number(wells.length - LINKS)} more`] : [];
    one("links").replaceChildren(...(links.length ? ["Open: ", ...links, ...more] : []));
    this.overlay.show(this.shown).catch((error) => {
      one("chosen").textContent = error.message;
    });
  }

  // -- words ----------------------------------------------------------------------------------

  #sentence(name) {
    return `${printable(name)}: ${this.#said(name).join(", ")}`;
  }

  #said(name) {
    return said(this.curves.get(name), this.time, this.data, this.wells.get(name));
  }

  #tipLines(name) {
    const [curve, well] = [this.curves.get(name), this.wells.get(name)];
    const { last, kept, value } = seen(curve, this.time, this.choice.by);
    if (last < 0) return [printable(name), ...this.#said(name), count(well.images, "measured image")];
    const { by } = this.choice;
    const own = by === "area" || by === "rate" || by === "flags" || !Number.isFinite(value) ? [] : [MEASURES[by].say(value, this.data)];
    return [printable(name), ...this.#said(name), ...own, kept < 0 ? "" : `of the image at ${hours(curve.hours[kept])}`].filter(Boolean);
  }

  #head() {
    const { geometry, wells } = this.data;
    const images = wells.reduce((sum, well) => sum + well.images, 0);
    const waiting = wells.reduce((sum, well) => sum + well.to_review, 0);
    const last = wells.map((well) => well.last?.measured_at).filter(Boolean).sort().at(-1);
    const kind = geometry.kind === "plate" ? `${number(geometry.wells)}-well plate, ` : "";
    one("facts").replaceChildren(`${kind}${count(wells.length, "well")}, ${count(images, "measured image")}`,
      ...(last ? [", newest area ", moment(last, { age: true }), ","] : []));
    one("review").hidden = waiting === 0;
    one("review").textContent = `Review ${count(waiting, "image")}`;
    one("as-of").textContent = `as of ${new Date().toLocaleTimeString([], { timeStyle: "medium" })}`;
    ages();
  }
}

const page = new PlatePage();
live(link("/api/v1/live", { plate: root.dataset.plate }), {
  hello: () => page.load(), // first and after every interruption
  wells: (told) => page.hear(told),
});
