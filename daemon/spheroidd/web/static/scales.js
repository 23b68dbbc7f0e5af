// Colours and numbers, the same on every page.

// cividis (Nuñez, Anderton and Renslow 2018; matplotlib's table, at tenths): even steps of
// lightness, so it can be read by colour-blind people and in grey.
const STOPS = "00224e 083370 35456c 4f576c 666970 7d7c78 948e77 aea371 c8b866 e5cf52 fee838"
  .split(" ").map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));

// The colour at `share` (0 to 1) of the scale, as [red, green, blue].
function mixed(share) {
  const place = Math.min(Math.max(share, 0), 1) * (STOPS.length - 1);
  const low = Math.min(Math.floor(place), STOPS.length - 2);
  return STOPS[low].map((part, i) => Math.round(part + (STOPS[low + 1][i] - part) * (place - low)));
}

export const colour = (share) => `rgb(${mixed(share).join(", ")})`;

// Black or white: what can be read on that colour.
export function inkOn(share) {
  const [red, green, blue] = mixed(share);
  return 0.299 * red + 0.587 * green + 0.114 * blue > 125 ? "#10171d" : "#ffffff";
}

// Okabe and Ito's eight, the strongest first; their yellow can't be seen on white, nor their
// black and their dark blue on dark, so these are lighter or darker there.
const LINES = {
  light: ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#16212b", "#56b4e9", "#e69f00", "#8f8300"],
  dark: ["#56b4e9", "#e69f00", "#1fc796", "#cc79a7", "#f0e442", "#e7eef3", "#ff7a33", "#6a9cf5"],
};
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];

const isDark = () => document.documentElement.dataset.theme === "dark";

// How the n-th line looks: colours first, then dashes, so that no two of 48 are alike.
export function line(n) {
  const colours = LINES[isDark() ? "dark" : "light"];
  return {
    color: colours[n % colours.length],
    dash: DASHES[Math.floor(n / colours.length) % DASHES.length],
  };
}

// A colour of base.css, such as "ink" or "card", as it is in the theme of the moment. Asked for
// thousands of times in one drawing, so each is looked up once.
const known = new Map();
export function themed(name) {
  const at = `${document.documentElement.dataset.theme} ${name}`;
  if (!known.has(at)) known.set(at, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
  return known.get(at);
}

// -- numbers ----------------------------------------------------------------------------------

const formats = new Map();

// 12345.6 → "12,346"; the same on every machine, whatever its language. Without a value "–".
export function number(value, digits = 0) {
  if (!Number.isFinite(value)) return "–";
  if (!formats.has(digits)) {
    formats.set(digits, new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }));
  }
  const text = formats.get(digits).format(Math.abs(value));
  return value < 0 && /[1-9]/.test(text) ? `−${text}` : text;
}

export function signed(value, digits = 0) {
  const text = number(value, digits);
  return value > 0 && /[1-9]/.test(text) ? `+${text}` : text;
}

export const hours = (value) => `${number(value, 1)} h`;

// Nobody counts in hours beyond a day: "50.0 h (2 d 2 h)".
export function hoursAndDays(value) {
  if (!(value >= 24)) return hours(value);
  const whole = Math.round(value);
  return `${hours(value)} (${Math.floor(whole / 24)} d ${whole % 24} h)`;
}

// For little room: 1234567 → "1.2M".
export function short(value) {
  const size = Math.abs(value);
  for (const [unit, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (size >= 0.9995 * unit) return `${number(value / unit, size < 9.95 * unit ? 1 : 0)}${letter}`;
  }
  return number(value, size < 9.95 && size % 1 ? 1 : 0);
}

export const count = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`;

// -- scales -----------------------------------------------------------------------------------

// The step of 1, 2 or 5 times a power of ten that divides a span into about `steps`.
export function niceStep(span, steps = 5) {
  const raw = span / steps;
  if (!(raw > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  return power * ([1, 2, 5].find((one) => one * power >= raw * 0.999) ?? 10);
}

// A range that holds both ends and begins and ends at a round number: it stays the same while
// most new values come.
export function niceRange(low, high, steps = 10) {
  if (!(high > low)) {
    const half = Math.abs(low) * 0.05 || 0.5;
    [low, high] = [low - half, high + half];
  }
  const step = niceStep(high - low, steps);
  const round = (value, to) => Number((to(value / step) * step).toPrecision(12));
  return [round(low + step * 1e-9, Math.floor), round(high - step * 1e-9, Math.ceil)];
}

// The value below which `share` of them lie.
export function quantile(sorted, share) {
  const place = (sorted.length - 1) * share;
  const low = Math.floor(place);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (sorted[high] - sorted[low]) * (place - low);
}
