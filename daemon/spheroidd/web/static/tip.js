// The box with numbers beside what the pointer or the keyboard is on.
import { make } from "./make.js";

const GAP = 8; // pixels to the target and to the window's edges

export class Tip {
  constructor() {
    this.box = make("div", { class: "tip", role: "tooltip", "aria-hidden": "true", hidden: true });
    document.body.append(this.box);
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.hide());
    window.addEventListener("scroll", () => this.target && this.#place(), { passive: true, capture: true });
  }

  // Show lines of text beside `target`, the first one as its head.
  show(target, [head, ...lines]) {
    this.target = target;
    this.box.replaceChildren(make("strong", {}, head), ...lines.map((line) => make("span", {}, line)));
    this.box.hidden = false;
    this.#place();
  }

  hide() {
    this.box.hidden = true;
    this.target = null;
  }

  // Above the target, or below where there is no room; never outside the window.
  #place() {
    const [at, box] = [this.target.getBoundingClientRect(), this.box.getBoundingClientRect()];
    const middle = at.left + (at.width - box.width) / 2;
    const above = at.top - box.height - GAP;
    this.box.style.left = `${Math.max(Math.min(middle, window.innerWidth - box.width - GAP), GAP)}px`;
    this.box.style.top = `${above > GAP ? above : at.bottom + GAP}px`;
  }
}
