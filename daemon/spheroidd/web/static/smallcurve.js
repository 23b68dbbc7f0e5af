// A well's curve, small, with one point marked: drawn by hand, for plotly is not needed for it.
import { draw } from "./make.js";
import { hours, niceRange, niceStep, number, short } from "./scales.js";
import { areaOf, isPlaced } from "./wording.js";

const [WIDTH, HEIGHT] = [360, 150];
const ROOM = { left: 44, right: 10, top: 10, bottom: 24 };

// A new <svg> of the frames around `image` (same field and channel).
export function smallCurve(frames, image, unit) {
  const points = frames.filter(isPlaced);
  const here = points.find((frame) => frame.image_id === image);
  const svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "small-curve", role: "img", "aria-label": "Area over time" });
  if (!points.length) return svg;
  const values = points.map((frame) => areaOf(frame, unit));
  const [low, high] = niceRange(0, Math.max(...values, 1), 4);
  const first = points[0].hours;
  const last = Math.max(points.at(-1).hours, first + 1);
  const x = (hour) => ROOM.left + ((hour - first) / (last - first)) * (WIDTH - ROOM.left - ROOM.right);
  const y = (value) => HEIGHT - ROOM.bottom - ((value - low) / (high - low)) * (HEIGHT - ROOM.top - ROOM.bottom);

  for (let value = low; value <= high * 1.001; value += niceStep(high - low, 3)) {
    svg.append(draw("line", { class: "grid", x1: ROOM.left, x2: WIDTH - ROOM.right, y1: y(value), y2: y(value) }),
      draw("text", { x: ROOM.left - 5, y: y(value) + 4, "text-anchor": "end" }, short(value)));
  }
  svg.append(draw("text", { x: ROOM.left, y: HEIGHT - 6 }, hours(first)),
    draw("text", { x: WIDTH - ROOM.right, y: HEIGHT - 6, "text-anchor": "end" }, `${hours(last)} · ${unit}`));
  const kept = points.filter((frame) => !frame.excluded);
  svg.append(draw("polyline", { class: "line", points: kept.map((frame) => `${x(frame.hours)},${y(areaOf(frame, unit))}`).join(" ") }));
  for (const frame of points) {
    const kind = frame.excluded ? "left-out" : frame.flags.length ? "flagged" : "plain";
    svg.append(draw("circle", { class: kind, cx: x(frame.hours), cy: y(areaOf(frame, unit)), r: kind === "plain" ? 1.5 : 3 }));
  }
  if (here) {
    svg.append(draw("line", { class: "here", x1: x(here.hours), x2: x(here.hours), y1: ROOM.top, y2: HEIGHT - ROOM.bottom }),
      draw("circle", { class: "here", cx: x(here.hours), cy: y(areaOf(here, unit)), r: 7 }));
    svg.setAttribute("aria-label", `Area over time; this frame: ${number(areaOf(here, unit))} ${unit} at ${hours(here.hours)}`);
  }
  return svg;
}
