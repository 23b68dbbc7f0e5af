// The slider through the hours of a plate, and what plays it.
import { hours, hoursAndDays } from "./scales.js";

const STILL_MS = 1000; // a round for each second, for whom motion makes ill
const NEAR = 1e-6;

export class Player {
  // `root` holds [data-play], [data-time], [data-now], [data-speed], [data-follow];
  // `changed(time, moving)` is told of every step.
  constructor(root, changed) {
    const find = (name) => root.querySelector(`[data-${name}]`);
    Object.assign(this, { changed, rounds: [0], time: 0, playing: false, following: true });
    [this.range, this.button, this.said, this.speed, this.follow] = ["time", "play", "now", "speed", "follow"].map(find);
    this.still = window.matchMedia("(prefers-reduced-motion: reduce)");
    this.range.addEventListener("input", () => this.#by(Number(this.range.value)));
    this.range.addEventListener("keydown", (event) => this.#key(event));
    this.button.addEventListener("click", () => (this.playing ? this.pause() : this.play()));
    this.follow.addEventListener("click", () => this.#followEnd(!this.following));
    document.addEventListener("visibilitychange", () => document.hidden && this.pause());
  }

  get end() {
    return this.rounds.at(-1);
  }

  // The times at which the plate was looked at; who follows goes to the new end.
  over(rounds) {
    this.rounds = rounds.length ? rounds : [0];
    this.range.min = this.rounds[0];
    this.range.max = this.end;
    this.range.disabled = this.button.disabled = this.rounds.length < 2;
    this.#go(this.following ? this.end : Math.min(Math.max(this.time, this.rounds[0]), this.end));
  }

  play() {
    if (this.time >= this.end - NEAR) this.time = this.rounds[0];
    this.playing = true;
    this.following = false;
    this.#go(this.time);
    let before = performance.now();
    const frame = (now) => {
      if (!this.playing) return;
      const passed = now - before;
      if (!this.still.matches || passed >= STILL_MS) {
        before = now;
        this.#advance(passed);
      }
      if (this.playing) requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    this.#go(this.time);
  }

  #advance(passed) {
    const span = this.end - this.rounds[0];
    const next = this.still.matches ? this.#neighbour(1) : this.time + (span * passed) / 1000 / Number(this.speed.value);
    if (next >= this.end - NEAR) {
      this.playing = false;
      this.following = true; // as it is at the end anyway
    }
    this.#go(Math.min(next, this.end));
  }

  #by(time) {
    this.playing = false;
    this.following = time >= this.end - NEAR;
    this.#go(time);
  }

  #followEnd(following) {
    this.playing = false;
    this.following = following;
    this.#go(following ? this.end : this.time);
  }

  #neighbour(step) {
    const next = step > 0
      ? this.rounds.find((round) => round > this.time + NEAR)
      : this.rounds.findLast((round) => round < this.time - NEAR);
    return next ?? (step > 0 ? this.end : this.rounds[0]);
  }

  // By time points; what the browser would do are steps of no meaning.
  #key(event) {
    const far = Math.max(1, Math.round(this.rounds.length / 10));
    const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: far, PageDown: -far };
    if (event.key in steps) {
      const by = steps[event.key];
      const at = this.rounds.indexOf(this.#neighbour(Math.sign(by))) + by - Math.sign(by);
      this.#by(this.rounds[Math.min(Math.max(at, 0), this.rounds.length - 1)]);
    } else if (event.key === "Home") this.#by(this.rounds[0]);
    else if (event.key === "End") this.#by(this.end);
    else return;
    event.preventDefault();
  }

  #go(time) {
    this.time = time;
    this.range.value = time;
    this.range.setAttribute("aria-valuetext", hoursAndDays(time));
    this.said.textContent = hours(time);
    this.said.title = hoursAndDays(time);
    this.button.textContent = this.playing ? "❚❚" : "▶";
    this.button.setAttribute("aria-label", this.playing ? "Pause" : "Play");
    this.follow.setAttribute("aria-pressed", this.following);
    this.changed(time, this.playing);
  }
}
