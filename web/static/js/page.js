// What every page does: theme, local times, the keys' dialog, htmx's token and its troubles.

const said = document.getElementById("said");
const trouble = document.getElementById("trouble");
const ENDED = 'This session has ended: print a new link with "plainfilm key link", or ask whoever runs this service for one, then open it.';
let isPressTold = false;

/** The token that every change must carry. */
export function csrfToken() {
  return document.querySelector('meta[name="csrf-token"]')?.content ?? "";
}

/** Tell those who listen rather than look. */
export function say(words) {
  said.textContent = words;
}

/** True while the key belongs to a field or a dialog, is part of a shortcut of the browser, or keys are turned off. */
export function isTaken(event) {
  const field = event.target.closest?.("input:not([type=range]), select, textarea, dialog");
  return Boolean(field) || recall("plainfilm-keys") === "off" || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented;
}

/** What this browser keeps for the pages; null where storage is denied. */
export function recall(name, storage = "localStorage") {
  try {
    return window[storage].getItem(name);
  } catch {
    return null;
  }
}

/** Keep it; where storage is denied it lasts as long as the page. */
export function keep(name, value, storage = "localStorage") {
  try {
    window[storage].setItem(name, value);
  } catch {
    // nothing to do
  }
}

function setUpTheme() {
  const button = document.getElementById("theme");
  const root = document.documentElement;
  const sheet = document.getElementById("light");
  const show = () => button.setAttribute("aria-pressed", String(root.dataset.theme === "light"));
  button.addEventListener("click", () => {
    root.dataset.theme = root.dataset.theme === "light" ? "dark" : "light";
    sheet.media = root.dataset.theme === "light" ? "all" : "print";
    keep("plainfilm-theme", root.dataset.theme);
    show();
  });
  show();
}

const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "long" });
const PARTS = { day: "2-digit", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" };
const exact = new Intl.DateTimeFormat("en-GB", PARTS);
const zoned = new Intl.DateTimeFormat("en-GB", { ...PARTS, timeZoneName: "short" });
const STEPS = [["second", 60], ["minute", 60], ["hour", 24], ["day", 30], ["month", 12], ["year", Infinity]];

function inWords(moment) {
  let distance = (moment - Date.now()) / 1000;
  if (Math.abs(distance) < 10) return "just now";
  for (const [unit, size] of STEPS) {
    if (Math.abs(distance) < size) return relative.format(Math.round(distance), unit);
    distance /= size;
  }
  return exact.format(moment);
}

/** Write each moment in the reader's own time, with how long ago it was. */
export function showTimes(root = document) {
  for (const time of root.querySelectorAll("time")) {
    const moment = new Date(time.dateTime);
    time.title = zoned.format(moment); // and on paper
    time.textContent = time.closest("dl, .history") ? exact.format(moment) : inWords(moment);
  }
}

function setUpKeys() {
  const dialog = document.getElementById("keys");
  if (!dialog) return;
  document.addEventListener("keydown", (event) => {
    if (event.key !== "?" || isTaken(event)) return;
    event.preventDefault();
    dialog.showModal();
  });
  document.querySelector('[data-opens="keys"]')?.addEventListener("click", () => dialog.showModal());
  dialog.addEventListener("click", (event) => isBeside(dialog, event) && dialog.close());
  const letters = document.getElementById("letters");
  letters.checked = recall("plainfilm-keys") !== "off";
  letters.addEventListener("change", () => keep("plainfilm-keys", letters.checked ? "on" : "off"));
}

/** A click on what lies around the dialog; one on its own padding has the same target. */
function isBeside(dialog, { target, clientX: x, clientY: y }) {
  const { left, right, top, bottom } = dialog.getBoundingClientRect();
  return target === dialog && (x < left || x > right || y < top || y > bottom);
}

/** What became of something pressed stays until the reader goes on: no poll wipes it, or puts its own in its place. */
function tell(words, isOfPress = false) {
  if (isPressTold && !isOfPress) return;
  isPressTold = isOfPress && Boolean(words);
  if (trouble.textContent !== words) trouble.textContent = words;
  trouble.hidden = !words;
}

function setUpLive() {
  let isOver = false; // the session: nothing is asked by the clock any more, until the reader does something
  for (const act of ["pointerdown", "keydown", "visibilitychange"]) {
    document.addEventListener(act, () => (isOver = false), true);
  }
  for (const act of ["click", "keydown", "change"]) { // not as soon as a pointer is down: what it is on would move away
    document.addEventListener(act, () => isPressTold && tell("", true), true);
  }
  document.addEventListener("htmx:configRequest", (event) => {
    if (event.detail.verb === "get") {
      if (document.hidden || (isOver && !event.detail.triggeringEvent)) event.preventDefault();
    } else {
      event.detail.headers["X-CSRFToken"] = csrfToken();
    }
  });
  document.addEventListener("htmx:afterRequest", (event) => event.detail.successful && tell(""));
  for (const silence of ["htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(silence, (event) => tellFailure(event, "The service does not answer; this page keeps trying."));
  }
  document.addEventListener("htmx:responseError", (event) => {
    isOver = event.detail.xhr.status === 401;
    tellFailure(event, "The service returned an error; this page keeps trying.");
  });
  document.addEventListener("htmx:afterSettle", () => showTimes());
}

/** Of a question that comes again by itself these words; of what was pressed that it has to be pressed again. */
function tellFailure({ detail: { xhr, requestConfig } }, words) {
  const isOfPress = requestConfig.verb !== "get";
  tell(describe(xhr) ?? (isOfPress ? "The service did not respond. Please try again." : words), isOfPress);
}

/** The service's own words; undefined where there are none. */
function describe(xhr) {
  if (xhr.status === 401) return ENDED;
  try {
    return JSON.parse(xhr.responseText).detail;
  } catch {
    return undefined;
  }
}

/** What an answer to the clock takes from under the reader: words heard before, how far a table was moved. */
function setUpCalm() {
  const moved = new Map();
  document.addEventListener("htmx:oobBeforeSwap", (event) => {
    const { target, fragment } = event.detail;
    if ("calm" in target.dataset && wordsOf(target) === wordsOf(fragment)) event.detail.shouldSwap = false;
  });
  document.addEventListener("htmx:beforeSwap", () => {
    for (const table of document.querySelectorAll(".scroller[id]")) moved.set(table.id, table.scrollLeft);
  });
  document.addEventListener("htmx:afterSwap", () => {
    for (const [id, left] of moved) document.getElementById(id)?.scrollTo({ left, behavior: "instant" });
  });
}

function wordsOf(node) {
  return node.textContent.replace(/\s+/g, " ").trim();
}

function setUpCopies() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copies]");
    if (!button) return;
    const source = document.getElementById(button.dataset.copies);
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source);
      button.textContent = "Selected: copy it now";
    }
  });
}

/** The worklist is left for a film or another page, and found again as it was filtered, by link or by `w`. */
function setUpWayBack() {
  const link = document.querySelector("[data-leads-back]");
  if (!link) return;
  link.href = `/${recall("plainfilm-worklist", "sessionStorage") ?? ""}`;
  document.addEventListener("keydown", (event) => event.key === "w" && !isTaken(event) && link.click());
}

/** The page that says that there is no session: what the last one left in this tab goes, names of films among it. */
function forgetEnded() {
  if (!document.getElementById("no-session")) return;
  try {
    sessionStorage.clear();
  } catch {
    // storage is denied, and nothing was kept
  }
}

document.addEventListener("error", (event) => event.target.matches?.(".cell-film img") && event.target.classList.add("gone"), true);
forgetEnded();
setUpTheme();
setUpKeys();
setUpWayBack();
setUpLive();
setUpCalm();
setUpCopies();
showTimes();
setInterval(() => showTimes(), 15_000);
