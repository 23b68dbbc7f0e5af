// The area curve of a well: the current frame marked, flags as symbols, excluded ones hollow.
import { CONFIG, look, plotly, timeLine } from "./chart.js";
import { escaped, saveCsv, savePlotly } from "./download.js";
import { ABOUT, flag, flagNames } from "./flags.js";
import { hoursAndDays, line, themed } from "./scales.js";
import { area, areaOf, isPlaced } from "./wording.js";


// Fills `element`; `picked(place)` is called when a point is clicked.
export function areaCurve(element, picked) {
  let frames = [];
  let unit = "px";
  let place = -1;
  let logarithmic = false;
  let turn = plotly(element.dataset.plotly); // one drawing after the other
  let wanted = 0;
  let waiting = 0;
  turn.catch((error) => element.replaceChildren(error.message));

  function show(newFrames, newUnit) {
    frames = newFrames;
    unit = newUnit;
    drawAll();
  }

  // Of the drawings that wait, the last alone.
  function drawAll() {
    const mine = ++wanted;
    turn = turn.then(() => (mine === wanted ? drawNow() : undefined));
    turn.catch(() => {}); // said above
  }

  async function drawNow() {
    const first = !element.data;
    await window.Plotly.react(element, traces(frames, unit, place), layout(unit, frames[place], logarithmic), CONFIG);
    if (!first) return;
    element.on("plotly_click", ({ points }) => {
      const chosen = points.find((point) => point.customdata !== undefined);
      if (chosen) picked(chosen.customdata);
    });
  }

  // Once a picture at most: playing asks for it twenty times a second.
  function mark(newPlace) {
    place = newPlace;
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => {
      turn = turn.then(() => {
        if (!element.data) return undefined;
        const { x, y } = ring(frames[place], unit);
        return window.Plotly.update(element, { x: [x], y: [y] }, { shapes: here(frames[place]) }, [element.data.length - 1]);
      });
      turn.catch(() => {});
    });
  }

  function scale(log) {
    logarithmic = log;
    if (element.data) drawAll();
  }

  document.documentElement.addEventListener("themechange", () => element.data && drawAll());

  async function save(title, format) {
    if (format === "csv") return saveFrames(title, frames);
    await turn;
    return savePlotly(title, element, format);
  }

  return { show, mark, scale, save };
}

function traces(frames, unit, place) {
  const points = frames.map((frame, n) => ({ ...frame, n })).filter(isPlaced);
  const kept = points.filter((frame) => !frame.excluded);
  const left = points.filter((frame) => frame.excluded);
  const { color } = line(0);
  const all = [trace("area", kept, unit, {
    mode: "lines+markers", line: { color, width: 2 }, marker: { color, size: 6 }, showlegend: false,
  })];
  for (const [about, { shape, colour }] of Object.entries(ABOUT)) {
    const raised = (frame) => frame.flags.filter((name) => flag(name).about === about);
    const flagged = kept.filter((frame) => raised(frame).length);
    if (!flagged.length) continue;
    const names = flagNames([...new Set(flagged.flatMap(raised))]);
    all.push(trace(names, flagged, unit, {
      mode: "markers", marker: { symbol: shape, color: colour, size: 12, line: { color: themed("ink"), width: 1 } },
    }));
  }
  if (left.length) {
    all.push(trace("excluded", left, unit, {
      mode: "markers", marker: { symbol: "circle-x-open", color: themed("soft"), size: 10, line: { width: 2 } },
    }));
  }
  const { x, y } = ring(frames[place], unit);
  all.push({
    x, y, name: "this frame", mode: "markers", hoverinfo: "skip", showlegend: false,
    marker: { symbol: "circle-open", color: themed("mark"), size: 18, line: { width: 3 } },
  });
  return all;
}

function trace(name, frames, unit, look) {
  return {
    name, type: "scatter", ...look,
    x: frames.map((frame) => frame.hours),
    y: frames.map((frame) => areaOf(frame, unit)),
    customdata: frames.map((frame) => frame.n),
    text: frames.map((frame) => hover(frame, unit)),
    hovertemplate: "%{text}<extra></extra>",
  };
}

function hover(frame, unit) {
  const lines = [`${hoursAndDays(frame.hours)}: ${area(frame, unit)}`];
  if (frame.flags.length) lines.push(escaped(flagNames(frame.flags)));
  if (frame.excluded) lines.push("excluded");
  else if (frame.decision) lines.push(frame.decision);
  return lines.join("<br>");
}

function ring(frame, unit) {
  const there = frame && isPlaced(frame);
  return there ? { x: [frame.hours], y: [areaOf(frame, unit)] } : { x: [], y: [] };
}

function here(frame) {
  return !frame || frame.hours === null ? [] : timeLine(frame.hours, { color: themed("mark"), width: 2 });
}

function layout(unit, frame, logarithmic) {
  const grid = { gridcolor: themed("line"), zerolinecolor: themed("line"), linecolor: themed("soft") };
  return {
    ...look(),
    uirevision: `${unit} ${logarithmic}`, // what was zoomed to stays while new frames come
    margin: { t: 12, r: 12, b: 48, l: 72 },
    xaxis: { ...grid, title: { text: "time (h)" }, zeroline: false },
    yaxis: {
      ...grid, title: { text: `area (${unit})` }, type: logarithmic ? "log" : "linear",
      rangemode: "tozero", tickformat: ",.0f", automargin: true,
    },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
    shapes: here(frame),
  };
}

function saveFrames(title, frames) {
  const columns = [
    "image_id", "captured_at", "hours", "field", "channel", "state", "area_px", "area_um2", "relative_pct",
    "n_objects", "flags", "excluded", "decision",
  ];
  const rows = frames.map((frame) => columns.map((name) =>
    Array.isArray(frame[name]) ? frame[name].join(",") : typeof frame[name] === "boolean" ? Number(frame[name]) : frame[name]));
  saveCsv(title, columns, rows);
}
