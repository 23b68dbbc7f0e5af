// What is shown, as a file: PNG, SVG, CSV. Everything is made here; nothing is sent anywhere.
import { themed } from "./scales.js";

const SVG = "http://www.w3.org/2000/svg";
const SHARPER = 2; // pixels of a PNG for each on the screen
const [TITLE, LEGEND_LINE] = [56, 21]; // pixels of a chart's title, of a name in its legend
const LONGEST = 12_000; // pixels; canvases of more are refused by some browsers

// A name that every file system takes: "Plate 1, area at 42.0 h.png".
const fileName = (title, ending) =>
  `${title.replace(/[\\/:*?"<>|\u0000-\u001f]+/g, "_").trim().slice(0, 120) || "plot"}.${ending}`;

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// RFC 4180; numbers as they are, so that every program can read them.
function quoted(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "";
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function saveCsv(title, columns, rows) {
  const text = [columns, ...rows].map((row) => `${row.map(quoted).join(",")}\r\n`).join("");
  save(new Blob([text], { type: "text/csv;charset=utf-8" }), fileName(title, "csv"));
}

const sizeOf = (svg) => ["width", "height"].map((name) => Number(svg.getAttribute(name)));

function element(name, attributes, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

// One picture of several: a title, the SVGs below one another, then sentences, on the page's
// ground. They must have `width` and `height` in pixels, and colours as attributes.
function composed(title, pictures, sentences) {
  const margin = 16;
  let below = margin + 28;
  const sheet = element("svg", { xmlns: SVG, "font-family": "system-ui, sans-serif", role: "img", "aria-label": title });
  const ground = element("rect", { fill: themed("card") });
  sheet.append(ground, element("text", {
    x: margin, y: margin + 14, fill: themed("ink"), "font-size": 16, "font-weight": 600,
  }, title));
  let widest = title.length * 8.5;
  for (const picture of pictures) {
    const [width, height] = sizeOf(picture);
    const copy = picture.cloneNode(true);
    copy.setAttribute("x", margin);
    copy.setAttribute("y", below);
    copy.removeAttribute("class");
    sheet.append(copy);
    widest = Math.max(widest, width);
    below += height + 12;
  }
  for (const sentence of sentences) {
    sheet.append(element("text", { x: margin, y: (below += 18) - 10, fill: themed("soft"), "font-size": 12 }, sentence));
    widest = Math.max(widest, sentence.length * 6.4);
  }
  for (const part of [sheet, ground]) {
    part.setAttribute("width", Math.ceil(widest + 2 * margin));
    part.setAttribute("height", Math.ceil(below + margin - 12));
  }
  return sheet;
}

async function pixels(text, width, height) {
  const url = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
  try {
    const image = new Image();
    image.src = url;
    await image.decode();
    const sharper = Math.min(SHARPER, LONGEST / Math.max(width, height));
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [Math.round(width * sharper), Math.round(height * sharper)];
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    return await new Promise((done, failed) => {
      canvas.toBlob((blob) => (blob ? done(blob) : failed(new Error("The picture is too large."))), "image/png");
    });
  } finally {
    URL.revokeObjectURL(url);
  }
}

// Our own drawings, as "svg" or "png", with sentences below them.
export async function saveSvg(title, pictures, format, sentences = []) {
  const sheet = composed(title, pictures, sentences);
  const text = new XMLSerializer().serializeToString(sheet);
  const blob = format === "png"
    ? await pixels(text, ...sizeOf(sheet))
    : new Blob([text], { type: "image/svg+xml" });
  save(blob, fileName(title, format));
}

// A plotly chart, as "svg" or "png", with its title in it and on its page's ground.
export async function savePlotly(title, chart, format) {
  const { width, height: shown } = chart.getBoundingClientRect();
  const named = chart.layout.showlegend === false ? 0 : chart.data.length;
  const height = Math.max(shown, TITLE + named * LEGEND_LINE); // on paper no legend can be scrolled
  const layout = {
    ...chart.layout,
    shapes: [], // where one looks just now is of the screen alone
    title: { text: escaped(title), x: 0, xref: "paper", font: { size: 16 } },
    margin: { ...chart.layout.margin, t: TITLE, r: Math.max(chart.layout.margin?.r ?? 0, 24) },
    paper_bgcolor: themed("card"), plot_bgcolor: themed("card"),
  };
  const figure = { data: chart.data, layout, config: { displaylogo: false } };
  const url = await window.Plotly.toImage(figure, { format, width, height, scale: format === "png" ? SHARPER : 1 });
  save(blobOf(url), fileName(title, format));
}

// Text for plotly, which reads some HTML in it.
export const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

// Of a data URL; `fetch` of one is not allowed by the page's policy.
function blobOf(url) {
  const [head, body] = [url.slice(5, url.indexOf(",")), url.slice(url.indexOf(",") + 1)];
  const [type, coding] = head.split(";");
  if (coding !== "base64") return new Blob([decodeURIComponent(body)], { type });
  return new Blob([Uint8Array.from(atob(body), (character) => character.charCodeAt(0))], { type });
}

// Buttons with data-save="png|svg|csv" in `bar` call `how(format)`; what fails is said beside them.
export function downloads(bar, how) {
  bar.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-save]");
    if (!button) return;
    const said = bar.querySelector("[data-said]");
    button.disabled = true;
    try {
      await how(button.dataset.save);
      if (said) said.textContent = "";
    } catch (error) {
      if (said) said.textContent = `That could not be saved: ${error.message}`;
    } finally {
      button.disabled = false;
    }
  });
}
