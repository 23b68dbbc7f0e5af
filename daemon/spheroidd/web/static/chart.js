// What plotly's charts have in common, and plotly itself.
import { themed } from "./scales.js";

export const CONFIG = { displayModeBar: false, responsive: true, doubleClick: "reset" };

// 4.8 MB that no page waits for: loaded once it is wanted, from `address`.
let loading;
export function plotly(address) {
  loading ??= new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = address;
    script.onload = () => done(window.Plotly);
    script.onerror = () => failed(new Error("plotly could not be loaded; reload the page."));
    document.head.append(script);
  });
  return loading;
}

// The part of a layout that is the same everywhere, in the colours of the moment.
export const look = () => ({
  font: { family: "system-ui, sans-serif", color: themed("ink"), size: 13 },
  paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
  hovermode: "closest", dragmode: "zoom",
  hoverlabel: { bgcolor: themed("card"), bordercolor: themed("soft"), font: { color: themed("ink") } },
});

// A dotted line across all curves at `hours`, for a layout's `shapes`.
export const timeLine = (hours, look) => [{
  type: "line", xref: "x", yref: "paper", x0: hours, x1: hours, y0: 0, y1: 1, layer: "below",
  line: { dash: "dot", ...look },
}];
