// What a person settles: who they are, why a frame is excluded, the decision itself and its undo.
import { keep, kept } from "./keys.js";
import { tell } from "./live.js";
import { make } from "./make.js";

const LONGEST_NAME = 60;
const REASONS = ["out of focus", "debris", "bubble", "wrong object", "empty"];
export const DONE = {
  confirm: "Confirmed", exclude: "Excluded", choose: "Chosen", restore: "Restored",
};
// The same with what was answered.
export const WORDS = {
  confirm: () => DONE.confirm,
  exclude: ({ reason }) => `${DONE.exclude} (${reason})`,
  choose: ({ choose }) => (choose ? `Object ${choose} chosen` : "No spheroid there"),
};
export const GONE_ON = "Another frame is shown by now: nothing was decided.";

// As `image` was looked at: the server refuses what has changed since.
function subjectOf(frame) {
  const { image_id, measurement_id, object_number, area_px } = frame;
  return { image_id, measurement_id, object_number, area_px };
}

// `data` is the dataset of the page's element: canReview, whyNot, name; while a decision is on its
// way it has `sending`, too.
export class Settler {
  constructor(data) {
    this._data = data;
    this._sending = 0;
    this._turn = Promise.resolve();
    window.addEventListener("beforeunload", (event) => this._sending && event.preventDefault());
    this.allowed = data.canReview === "true";
    this.whyNot = data.whyNot;
    this._name = data.name;
    this._key = `who ${data.name}`; // another login on the same browser is another person
    this.made = []; // of this visit, the last one last: { what, frame, event (a promise) }
  }

  get who() {
    return kept(this._key, this._name);
  }

  // Asked once, and whenever somebody wants another; resolves with "" where it was not said.
  async ask({ again = false } = {}) {
    if (this.who && !again) return this.who;
    const name = (await askName(this.who)).trim().slice(0, LONGEST_NAME);
    if (name) keep(this._key, name);
    return name || (again ? this.who : "");
  }

  // Sends a decision; the promise it gives is rejected with the server's words.
  settle(action, frame, { reason = "", choose = null } = {}) {
    const content = { action, ...subjectOf(frame), who: this.who, reason };
    const event = this._send("/api/v1/review", action === "choose" ? { ...content, choose } : content)
      .then((answer) => answer.event);
    const decision = { what: action, frame, reason, choose, event };
    this.made.push(decision);
    event.catch(() => this._forget(decision));
    return decision;
  }

  // The last decision of this visit, undone by a later event; null: there is none.
  async undo() {
    const decision = this.made.pop();
    if (!decision) return null;
    const event = await decision.event.catch(() => null); // it may still be on its way
    if (event === null) return this.undo();
    try {
      await this._send("/api/v1/review/undo", { event, who: this.who, reason: "undone" });
    } catch (error) {
      this.made.push(decision);
      throw Object.assign(error, { decision });
    }
    return decision;
  }

  // One after the other: what was decided later is the later event.
  async _send(address, content) {
    this._data.sending = this._sending += 1;
    const answer = this._turn.then(() => tell(address, content));
    this._turn = answer.catch(() => {}); // its own sender hears of it
    try {
      return await answer;
    } finally {
      this._sending -= 1;
      if (this._sending) this._data.sending = this._sending;
      else delete this._data.sending;
    }
  }

  _forget(decision) {
    this.made = this.made.filter((one) => one !== decision);
  }
}

// What the server said, or that it said nothing.
export function inWords(error) {
  if (error instanceof TypeError) return `The server gave no answer (${error.message}).`;
  return [error.message, error.hint].filter(Boolean).join(" ");
}

function askName(name) {
  const input = make("input", { name: "who", value: name, required: true, maxlength: LONGEST_NAME, autocomplete: "nickname" });
  const dialog = make("dialog", { "aria-label": "Who are you?" },
    make("form", { method: "dialog" },
      make("h2", {}, "Who decides?"),
      make("label", {}, "Your name or initials, kept with every decision ", input),
      make("div", { class: "bar" },
        make("button", { class: "main", value: "ok" }, "That is me"),
        make("button", { type: "button", click: () => dialog.close() }, "Cancel"))));
  document.body.append(dialog);
  return new Promise((done) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      done(dialog.returnValue === "ok" ? input.value : "");
    });
    dialog.showModal();
    input.select();
  });
}

// Asks in `panel` why a frame is to be excluded; resolves with the reason, or with null.
export function askReason(panel, keys) {
  return new Promise((done) => {
    const other = make("input", { "aria-label": "Another reason", placeholder: "in your own words", maxlength: 500 });
    const end = (reason) => {
      panel.hidden = true;
      panel.replaceChildren();
      leave();
      done(reason);
    };
    const form = make("form", { submit: (event) => {
      event.preventDefault();
      if (other.value.trim()) end(other.value.trim());
    } }, make("label", {}, make("kbd", {}, "6"), " other ", other), make("button", {}, "Exclude"));
    const ready = REASONS.map((reason, n) =>
      make("button", { type: "button", click: () => end(reason) }, make("kbd", {}, n + 1), ` ${reason}`));
    panel.replaceChildren(
      make("strong", {}, "Why is it to be excluded?"), ...ready, form,
      make("button", { type: "button", class: "quiet", click: () => end(null) }, make("kbd", {}, "Esc"), " back"));
    panel.hidden = false;
    const leave = keys.enter([
      ...REASONS.map((reason, n) => ({ keys: [`${n + 1}`], act: () => end(reason) })),
      { keys: ["6"], act: () => other.focus() },
      { keys: ["Escape", "x"], act: () => end(null) },
    ]);
    ready[0].focus();
  });
}
