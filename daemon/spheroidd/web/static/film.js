// Where one is in a well's film: which frame is shown, the next, the next flagged, playing.
export class Film {
  // `shown(frame, place)` is called whenever another frame, or the same with other content, is
  // the current one; it may return a promise, which playing waits for.
  constructor(shown) {
    this.frames = [];
    this.place = -1;
    this.playing = false;
    this.speed = 5;
    this._shown = shown;
    this._timer = 0;
    this._run = 0; // which playing this is
  }

  get frame() {
    return this.frames[this.place];
  }

  // The last frame that there is something to see of.
  get end() {
    const measured = this.frames.findLastIndex((frame) => frame.state === "measured");
    return measured >= 0 ? measured : this.frames.length - 1;
  }

  // Other content: the same image stays the current one, unless one was at the end and follows.
  load(frames, wanted = null) {
    const follows = this.place >= this.end;
    const id = wanted ?? (follows ? null : this.frame?.image_id);
    this.frames = frames;
    const found = frames.findIndex((frame) => frame.image_id === id);
    this.place = found >= 0 ? found : this.end;
    return this._shown(this.frame, this.place);
  }

  go(place) {
    const within = Math.min(Math.max(place, 0), this.frames.length - 1);
    if (within === this.place) return undefined;
    this.place = within;
    return this._shown(this.frame, within);
  }

  step(by) {
    this.pause();
    return this.go(this.place + by);
  }

  // The next flagged one that nobody has settled, from the beginning again after the end.
  nextFlagged() {
    this.pause();
    const open = (frame) => frame.flags.length && !frame.excluded && !frame.decision;
    const order = [...this.frames.keys()].map((n) => (this.place + 1 + n) % this.frames.length);
    const found = order.find((place) => open(this.frames[place]));
    return found === undefined ? undefined : this.go(found);
  }

  play() {
    if (this.frames.length < 2) return;
    if (this.place === this.frames.length - 1) this.go(0);
    this.playing = true;
    this._next(++this._run);
  }

  pause() {
    this.playing = false;
    clearTimeout(this._timer);
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  _next(run) {
    this._timer = setTimeout(async () => {
      if (!this.playing) return;
      await this.go(this.place + 1);
      if (run !== this._run) return; // paused and played again meanwhile
      if (this.place >= this.frames.length - 1) this.pause();
      if (this.playing) this._next(run);
      else this._shown(this.frame, this.place); // so that the button says so
    }, 1000 / this.speed);
  }
}
