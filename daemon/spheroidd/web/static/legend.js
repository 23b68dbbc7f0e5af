// What the colours and the symbols of the plate mean.
import { draw } from "./make.js";
import { colour, number, short, signed, themed } from "./scales.js";

const [WIDE, HIGH] = [300, 14];
const ROW = 22; // pixels of a line of the key
const LETTER = 6.7; // pixels, about

// The scale: a bar with its title and round numbers at its ends and between.
export function scaleBar(title, unit, scale, measure) {
  const steps = Array.from({ length: 21 }, (_, i) => i / 20);
  const say = measure === "rate" ? (value) => signed(value, scale.step % 1 ? 1 : 0) : (value) => (scale.step % 1 ? number(value, 1) : short(value));
  const ticks = ticksOf(scale);
  const place = (value) => 24 + ((WIDE - 48) * (value - scale.low)) / (scale.high - scale.low);
  const text = (attributes, words) => draw("text", { fill: themed("ink"), "font-size": 12, ...attributes }, words);
  return draw("svg", { class: "legend-scale", width: WIDE, height: 54, role: "img", "aria-label": `${title}, ${unit}: from ${say(scale.low)} (dark) to ${say(scale.high)} (light)` },
    draw("defs", {}, draw("linearGradient", { id: "scale" },
      steps.map((share) => draw("stop", { offset: share, "stop-color": colour(share) })))),
    text({ x: 24, y: 13, "font-weight": 600 }, `${title} (${unit})`),
    draw("rect", { x: 24, y: 20, width: WIDE - 48, height: HIGH, fill: "url(#scale)", stroke: themed("line"), rx: 2 }),
    ticks.map((value) => draw("line", { x1: place(value), x2: place(value), y1: 34, y2: 38, stroke: themed("soft") })),
    ticks.map((value) => text({ x: place(value), y: 50, "text-anchor": "middle", "font-size": 11 },
      `${value === scale.low && scale.below ? "≤ " : value === scale.high && scale.above ? "≥ " : ""}${say(value)}`)));
}

// Both ends, and the round numbers between that are not too near to them.
function ticksOf({ low, high, step }) {
  const apart = (high - low) * 0.2;
  const found = [low];
  for (let value = Math.ceil(low / step) * step; value < high - apart; value += step) if (value > low + apart) found.push(value);
  return [...found, high];
}

// The symbols, in as many lines as they need.
export function key(mode) {
  const [ink, mark, soft, card] = ["ink", "mark", "soft", "card"].map(themed);
  const triangle = (fill) => draw("path", { d: "M8 3 l5.5 10 h-11 z", fill, stroke: mark, "stroke-width": 1.25 });
  const cross = draw("path", { d: "M4 4 l8 8 m0 -8 l-8 8", stroke: ink, "stroke-width": 2, fill: "none" });
  const hollow = draw("circle", { cx: 8, cy: 8, r: 4, fill: card, stroke: soft, "stroke-width": 1.5 });
  const items = [
    [triangle(mark), "flagged, waits for review"], [triangle(card), "flagged, looked at"],
    mode === "map" ? [cross, "last image excluded"] : [hollow, "excluded"],
    [draw("rect", { x: 2, y: 2, width: 12, height: 12, rx: 2, fill: "url(#hatch)", stroke: soft }), "no number"],
    [draw("circle", { cx: 8, cy: 8, r: 5.5, fill: "none", stroke: ink, "stroke-width": 2.5 }), "chosen"],
  ];
  const drawn = [];
  let [x, y, widest] = [0, 0, 0];
  for (const [symbol, words] of items) {
    const width = 22 + words.length * LETTER + 12;
    if (x + width > WIDE + 20 && x > 0) [x, y] = [0, y + ROW];
    drawn.push(draw("g", { transform: `translate(${x} ${y + 3})` }, symbol,
      draw("text", { x: 22, y: 12.5, "font-size": 12, fill: ink }, words)));
    x += width;
    widest = Math.max(widest, x);
  }
  return draw("svg", { class: "legend-key", width: Math.ceil(widest), height: y + ROW, role: "img", "aria-label": items.map(([, words]) => words).join("; ") }, drawn);
}
