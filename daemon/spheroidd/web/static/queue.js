// The review queue as one person walks through it: plain data, no page.
//
// What is looked at never moves: what is new comes after it, what was passed stays before it,
// and what somebody else settled goes unless it is the one on the screen.
const idOf = (item) => item.measurement_id;
const AT_ONCE = 100; // from the server, beyond what was passed
const MOST = 1000; // that the server sends

export class Queue {
  constructor() {
    this.items = [];
    this.place = 0;
    this.total = 0; // that wait on the server, all told
    this._settled = new Map(); // measurement → when the server said so; Infinity: not yet
    this._sent = new Set(); // measurements that the server sent last
  }

  get current() {
    return this.items[this.place];
  }

  // How many there are to walk through; the server may not have sent them all.
  get length() {
    return Math.max(this.total, this.items.length);
  }

  // What comes next, to have its pictures ready.
  ahead(count) {
    return this.items.slice(this.place + 1, this.place + 1 + count);
  }

  // Whether there is more on the server than it has sent.
  get more() {
    return this.total > this.items.length;
  }

  // What was passed is still in the server's list, before what comes next.
  get wanted() {
    return Math.min(this.place + AT_ONCE, MOST);
  }

  get running_out() {
    return this.more && this.items.length < MOST && this.items.length - this.place < 20;
  }

  // By one, within the ends; whether it went.
  move(by) {
    const place = Math.min(Math.max(this.place + by, 0), Math.max(this.items.length - 1, 0));
    const moved = place !== this.place;
    this.place = place;
    return moved;
  }

  // The current one is decided: the next one is there at once, before the server has answered.
  take() {
    const [item] = this.items.splice(this.place, 1);
    this.total = Math.max(this.total - 1, this.items.length);
    this._settled.set(idOf(item), Infinity);
    this.place = Math.min(this.place, Math.max(this.items.length - 1, 0));
    return item;
  }

  // The server has it; what it sent before that may still show it.
  confirmed(item, now) {
    this._settled.set(idOf(item), now);
  }

  // Refused or undone: it is looked at again, now. The server may have sent it meanwhile.
  back(item) {
    this._settled.delete(idOf(item));
    const there = this.items.findIndex((one) => one.image_id === item.image_id);
    if (there >= 0) this.items.splice(there, 1);
    else this.total += 1;
    if (there >= 0 && there < this.place) this.place -= 1;
    this.items.splice(this.place, 0, item);
  }

  // What the server sent, asked for at `since`; whether the current one is not in it any more.
  merge(rows, total, since) {
    const open = rows.filter((item) => !(this._settled.get(idOf(item)) >= since));
    this.total = total - (rows.length - open.length);
    const fresh = new Map(open.map((item) => [idOf(item), item]));
    const complete = rows.length >= total;
    const stays = (item) => fresh.has(idOf(item)) || !complete;
    const { current } = this;
    const before = this.items.slice(0, this.place).filter(stays);
    const passed = new Set(before.map(idOf));
    if (current) passed.add(idOf(current));
    const after = open.filter((item) => !passed.has(idOf(item)));
    this.items = [...before, ...(current ? [current] : []), ...after];
    this.place = before.length;
    const gone = Boolean(current) && this._sent.has(idOf(current)) && complete && !fresh.has(idOf(current));
    this._sent = new Set(fresh.keys());
    return gone;
  }

  clear() {
    this.items = [];
    this.place = 0;
    this.total = 0;
    this._sent.clear();
  }
}
