// The chosen wells' curves in one chart.
import { CONFIG, look, plotly, timeLine } from "./chart.js";
import { escaped, savePlotly } from "./download.js";
import { line, themed } from "./scales.js";
import { printable } from "./wording.js";

const MOST_NAMED = 30; // of more lines the legend would be larger than the chart
const MOST_DOTS = 300; // of more points each for itself can't be told apart
const NARROW = 560; // pixels: the legend goes below
const MOST_FOLLOWED = 30; // of more lines drawing the time anew takes longer than a step of the player

export class Overlay {
  // `opened(well, image)` is called when a point is clicked.
  constructor(element, opened) {
    Object.assign(this, { element, opened, turn: Promise.resolve() });
    document.documentElement.addEventListener("themechange", () => this.shown && this.show(this.shown));
  }

  // `shown`: `lines` ({ name, curve }), `of` ("area" or "relative"), `unit`, `log`. One drawing
  // after the other, and of those that wait the last alone.
  show(shown) {
    this.shown = shown;
    this.turn = this.turn.then(() => this.shown === shown && this.#draw(shown));
    return this.turn;
  }

  // The slider's time, as a line across the curves.
  at(time) {
    this.time = time;
    if (!this.drawn || this.shown.lines.length > MOST_FOLLOWED) return;
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => window.Plotly.relayout(this.element, { shapes: mark(this.time) }));
  }

  async save(title, format) {
    await this.turn;
    return savePlotly(title, this.element, format);
  }

  async #draw(shown) {
    const first = !this.element.data;
    if (first && !shown.lines.length) return;
    const Plotly = await plotly(this.element.dataset.plotly);
    const still = shown.lines.length > MOST_FOLLOWED;
    const whole = layout(shown, this.element.clientWidth < NARROW);
    await Plotly.react(this.element, traces(shown), { ...whole, shapes: still ? [] : mark(this.time) }, CONFIG);
    if (!first) return;
    this.drawn = true;
    this.element.on("plotly_click", ({ points }) => points[0]?.customdata && this.opened(...points[0].customdata));
  }
}

function traces({ lines, of, unit }) {
  const digits = of === "relative" ? 1 : 0;
  // Not in bold: plotly would write a style attribute, which the page's policy forbids.
  const hover = { hovertemplate: `%{text}<br>%{x:.1f} h<br>%{y:,.${digits}f} ${unit}<extra></extra>` };
  const dotted = lines.reduce((sum, { curve }) => sum + curve.hours.length, 0) <= MOST_DOTS;
  const found = lines.map(({ name, curve }, n) => {
    const kept = [...curve.hours.keys()].filter((i) => !curve.isExcluded[i] && curve[of][i] !== null);
    const { color, dash } = line(n);
    return {
      ...points(kept.map((i) => [name, curve, i]), of), ...hover, name: escaped(printable(name)),
      mode: dotted ? "lines+markers" : "lines", line: { color, dash, width: 2 }, marker: { color, size: 5 },
    };
  });
  return [...found, ...marks(lines, of, hover)];
}

// Flagged and excluded points of all wells: two traces, however many wells there are.
function marks(lines, of, hover) {
  const all = (is) => lines.flatMap(({ name, curve }, n) => [...curve.hours.keys()]
    .filter((i) => is(curve, i) && curve[of][i] !== null).map((i) => [name, curve, i, line(n).color]));
  const flagged = all((curve, i) => curve.isFlagged[i] && !curve.isExcluded[i]);
  const excluded = all((curve, i) => curve.isExcluded[i]);
  const colours = (found) => found.map((one) => one[3]);
  return [
    flagged.length && {
      ...points(flagged, of), ...hover, name: "flagged", mode: "markers",
      marker: { symbol: "triangle-up", size: 11, color: themed("mark"), line: { width: 1.5, color: themed("card") } },
    },
    excluded.length && {
      ...points(excluded, of), ...hover, name: "excluded", mode: "markers",
      marker: { symbol: "circle-open", size: 9, color: colours(excluded), line: { width: 2 } },
    },
  ].filter(Boolean);
}

function points(found, of) {
  return {
    type: "scatter",
    x: found.map(([, curve, i]) => curve.hours[i]), y: found.map(([, curve, i]) => curve[of][i]),
    text: found.map(([name]) => escaped(printable(name))), customdata: found.map(([name, curve, i]) => [name, curve.image[i]]),
  };
}

const mark = (time) => timeLine(time, { color: themed("soft"), width: 1 });

function layout({ lines, of, unit, log }, narrow) {
  const axis = { gridcolor: themed("line"), linecolor: themed("soft"), zeroline: false, automargin: true, ticks: "outside", tickcolor: themed("line") };
  return {
    ...look(),
    uirevision: `${of} ${log}`, // zooming stays while new images come
    margin: { l: 56, r: 12, t: 12, b: 44 },
    xaxis: { ...axis, title: { text: "Time (h)" } },
    yaxis: {
      ...axis, title: { text: `${of === "area" ? "Area" : "Relative area"} (${unit})` }, type: log ? "log" : "linear",
      rangemode: log ? "normal" : "tozero", separatethousands: true, ...(log ? { dtick: "D2" } : {}),
    },
    showlegend: lines.length <= MOST_NAMED,
    legend: narrow ? { orientation: "h", y: -0.22, yanchor: "top" } : { x: 1.01, y: 1 },
  };
}
