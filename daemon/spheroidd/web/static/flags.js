// Flags in plain words: what was seen, beyond which limit, and what to do (docs/flags.md).
// Colour and shape say what a flag is about; there are too many flags for a colour each.
import { draw, make } from "./make.js";
import { count, number } from "./scales.js";
import { figure, share } from "./wording.js";

// Okabe and Ito's colours; the shapes have the same names in plotly.
export const ABOUT = {
  object: { shape: "hexagon", colour: "#d55e00" },
  curve: { shape: "diamond", colour: "#56b4e9" },
  model: { shape: "square", colour: "#cc79a7" },
  image: { shape: "triangle-up", colour: "#e69f00" },
  film: { shape: "star", colour: "#009e73" },
};
const PATHS = {
  hexagon: "M8 1.5 14 5v6l-6 3.5L2 11V5z",
  diamond: "M8 1 15 8 8 15 1 8z",
  square: "M2.5 2.5h11v11h-11z",
  "triangle-up": "M8 1.5 15 14H1z",
  star: "M8 1l2.1 4.7 5.1.5-3.9 3.4 1.2 5L8 12l-4.5 2.6 1.2-5L.8 6.2l5.1-.5z",
};

export const FLAGS = {
  no_spheroid: {
    name: "no spheroid",
    about: "object",
    says: () => "Nothing was found here, so the area is 0.",
    next: "Right for an empty well. Otherwise look at focus and light, and exclude the frame.",
  },
  several_objects: {
    name: "several objects",
    about: "object",
    says: (value, limit) => `Another object has ${share(value)} of the spheroid's area (looked at from ${share(limit)}).`,
    next: "See that the outline is around the right one.",
  },
  ambiguous: {
    name: "ambiguous",
    about: "object",
    says: (value, limit) => `Another object is ${share(value)} as good a candidate (looked at from ${share(limit)}).`,
    next: "Choose the right one in a clear frame: the frames before and after follow.",
  },
  touches_border: {
    name: "touches the border",
    about: "object",
    says: (value) => `It is cut by ${count(value, "side")} of the image, so the area is too small.`,
    next: "Exclude the frame if much is missing.",
  },
  flip_flop: {
    name: "flip-flop",
    about: "object",
    says: (value, limit) => `${share(value)} of the frames around differ: found or not, or larger or smaller by a quarter (limit ${share(limit)}).`,
    next: "Compare with the frames beside it, and exclude the odd one out.",
  },
  area_jump: {
    name: "area jump",
    about: "curve",
    says: (value, limit) => `The area is ${off(value)} what the frames around lead one to expect (limit ${share(limit)}).`,
    next: "Outline wrong: exclude. Right, because the well was treated or moved just then: confirm.",
  },
  position_jump: {
    name: "position jump",
    about: "curve",
    says: (value, limit) => `It lies ${number(value, 2)} radii from its place in the frames around (limit ${number(limit, 2)}).`,
    next: "See which object is outlined. If all wells jump at the same hour, the plate was moved.",
  },
  shape_jump: {
    name: "shape jump",
    about: "curve",
    says: (value, limit) => `Roundness, solidity or form factor differs by ${number(value, 2)} from the frames around (limit ${number(limit, 2)}).`,
    next: "Look whether the outline ran into a shadow or debris, or lost a piece.",
  },
  low_solidity: {
    name: "low solidity",
    about: "curve",
    says: (value, limit) => `The outline is full of bays: solidity ${number(value, 2)}, expected at least ${number(limit, 2)}.`,
    next: "Confirm if the spheroid really is spiky or falls apart.",
  },
  low_confidence: {
    name: "low confidence",
    about: "model",
    says: (value, limit) => `The model hesitates: confidence ${share(value)}, expected at least ${share(limit)}.`,
    next: "Look at the outline.",
  },
  disagreement: {
    name: "disagreement",
    about: "model",
    says: (value, limit) => `The model's looks agree with the mask by ${share(value)} only, expected at least ${share(limit)}.`,
    next: "Look at the outline: this is the best single sign of a wrong area.",
  },
  low_focus: {
    name: "out of focus",
    about: "image",
    says: (value, limit) => `The image has ${share(limit ? value / limit : 0)} of the sharpness that this plate's images should have at least.`,
    next: "Exclude it if the edge can't be seen.",
  },
  exposure_shift: {
    name: "exposure shift",
    about: "image",
    says: (value, limit) => `The background is ${figure(value)} grey values off what it usually is in this well (limit ${figure(limit)}).`,
    next: "Lamp, condensation or a change of medium? The area is mostly fine.",
  },
  missing_frame: {
    name: "missing frame",
    about: "film",
    says: (value) => `${count(value, "frame is", "frames are")} missing just before this one.`,
    next: "The overview lists images that failed. Otherwise confirm.",
  },
  duplicate_frame: {
    name: "double frame",
    about: "film",
    says: (value) => `${count(value, "other image claims", "other images claim")} to be the same frame.`,
    next: "Exclude one of them.",
  },
};

function off(value) {
  return value > 0.4 ? `off by a factor of ${number(Math.exp(value), 1)} from` : `about ${share(value)} off`;
}

// What is known of a flag; one from a newer daemon has its name at least.
export function flag(name) {
  return FLAGS[name] ?? {
    name: name.replaceAll("_", " "),
    about: "object",
    says: (value, limit) => `${figure(value)}, limit ${figure(limit)}.`,
    next: "Look at the outline.",
  };
}

export function flagNames(names) {
  return names.map((name) => flag(name).name).join(", ");
}

// The shape of what a flag is about, for an eye that sees no colours, too.
function symbol(about) {
  const { shape, colour } = ABOUT[about];
  const path = draw("path", { d: PATHS[shape], fill: colour });
  return draw("svg", { class: "flag-symbol", viewBox: "0 0 16 16", "aria-hidden": "true" }, path);
}

// One symbol for each thing that a frame's flags are about.
export function symbols(names) {
  return [...new Set(names.map((name) => flag(name).about))].map(symbol);
}

// <ul>: each flag with its number, its limit and what to do.
export function flagList(names, checks) {
  const items = names.map((name) => {
    const { name: words, about, says, next } = flag(name);
    const check = checks[name];
    const known = check && check.value !== null && check.limit !== null;
    return make("li", { "data-flag": name },
      symbol(about),
      make("div", {}, make("strong", {}, words), " ", known ? says(check.value, check.limit) : "",
        make("small", { class: "soft" }, next)));
  });
  return make("ul", { class: "flags" }, items);
}
