// Server-sent events, and how fresh the page is: live, stale (no word for a while), or lost.
const STALE_MS = 25_000; // the server says something every 10 s
const RETRY_MS = [1000, 2000, 5000, 10_000];
const WORDS = { live: "live", stale: "stale: no word from the server", lost: "connection lost, trying again" };

function show(state) {
  document.documentElement.dataset.live = state;
  const text = document.querySelector("[data-live-text]");
  if (text && text.textContent !== WORDS[state]) text.textContent = WORDS[state];
}

// Connect to `url`; `on` has functions by event name, each called with the event's data.
// `hello` comes first, and again after every reconnection: then everything is asked for anew.
// A page that nobody sees lets go: a browser has six connections to a server for all its tabs.
export function live(url, on) {
  let source;
  let heard = Date.now();
  let tries = 0;

  function connect() {
    source?.close();
    if (document.hidden) return;
    heard = Date.now();
    source = new EventSource(url);
    for (const name of new Set([...Object.keys(on), "hello", "ping"])) {
      source.addEventListener(name, (event) => {
        heard = Date.now();
        tries = 0;
        show("live");
        on[name]?.(JSON.parse(event.data));
      });
    }
    source.onerror = () => {
      source.close();
      show("lost");
      ask("/api/v1/alerts?limit=1").catch(() => {}); // leads to the login if that has ended
      setTimeout(connect, RETRY_MS[Math.min(tries++, RETRY_MS.length - 1)]);
    };
  }

  setInterval(() => {
    const { live: state } = document.documentElement.dataset;
    if (!document.hidden && state !== "lost" && Date.now() - heard > STALE_MS) {
      show("stale");
      connect();
    }
  }, 1000);
  document.addEventListener("visibilitychange", () => (document.hidden ? source?.close() : connect()));
  window.addEventListener("pagehide", () => source?.close());
  window.addEventListener("pageshow", (event) => event.persisted && connect());
  connect();
}

// JSON from the API; an error has the server's own words.
export async function ask(url, options = {}) {
  const response = await fetch(url, { headers: { Accept: "application/json" }, ...options });
  if (response.status === 401) {
    location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
  }
  const answer = await response.json();
  if (!response.ok) throw Object.assign(new Error(answer.error), { hint: answer.hint, status: response.status });
  return answer;
}

// The same for what changes something.
export function tell(url, content) {
  const csrf = document.querySelector('meta[name="csrf"]')?.content ?? "";
  return ask(url, {
    method: "POST",
    keepalive: true, // what was decided arrives though the tab is closed
    headers: { Accept: "application/json", "Content-Type": "application/json", "X-CSRF-Token": csrf },
    body: JSON.stringify(content),
  });
}

// `work` as a function that never has it under way twice: whoever calls meanwhile has it done
// once more after it.
export function oneAtATime(work) {
  let running = null;
  let again = false;
  return function run(...wanted) {
    again = Boolean(running);
    running ??= work(...wanted).finally(() => {
      running = null;
      if (again) run();
    });
    return running;
  };
}

// "3 min ago" for every <time datetime data-age>, kept true.
export function ages() {
  for (const element of document.querySelectorAll("time[data-age]")) {
    const seconds = (Date.now() - Date.parse(element.dateTime)) / 1000;
    element.textContent = age(seconds);
    element.title = new Date(element.dateTime).toLocaleString();
  }
}
setInterval(ages, 5000);
ages();

function age(seconds) {
  const ahead = seconds < 0;
  const [size, unit] = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]].find(
    ([size]) => Math.abs(seconds) >= size) ?? [1, "s"];
  const span = `${Math.round(Math.abs(seconds) / size)} ${unit}`;
  return ahead ? `in ${span}` : `${span} ago`;
}
