// The lines of the films on their way, each with its words and buttons. States are counted as they change, and what has
// changed is drawn once a frame: those in trouble first, and of a long list the part that is being sent. Sends nothing.

const DRAWN = 100; // and those in trouble, and those being sent
const DRAWN_IN_TROUBLE = 200;
const AHEAD = 10; // of those that wait, beside the ones that were sent last
const TROUBLE = ["refused", "unsent"];
const BEING_SENT = ["sending", "cancelling"];
const list = document.getElementById("uploads");
const more = document.getElementById("more");
const films = new Set();
const numbers = new Map();
let isAsked = false;
let tellDrawn = () => {};

/** Have a function called after each drawing, to show the counts. */
export function afterDrawing(act) {
  tellDrawn = act;
}

export function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

/** A film gets its line; it is drawn once it has a state. */
export function addLine(film) {
  film.item = element("li", "upload");
  film.item.tabIndex = -1;
  films.add(film);
  return film;
}

export function removeLine(film) {
  films.delete(film);
  add(film.state, -1);
  ask();
}

/**
 * `words` say how it stands, and are a link where there is an `href`; `code` leads to the list of problems; `progress`
 * is an element. `acts` are the buttons: words and what is done.
 */
export function show(film, state, look, acts = []) {
  if (film.state) add(film.state, -1);
  add(state, 1);
  Object.assign(film, { state, look, acts, isChanged: true });
  ask();
}

/** Other words for its link, in place: it may have the focus, or be pressed just now. */
export function reword(film, words) {
  film.look.words = words;
  const link = film.item.querySelector(".upload-word a");
  if (link) link.textContent = words;
}

/** What its line says, in plain text. */
export function wordsOf({ look }) {
  return [look.words, look.code].filter(Boolean).join(" ");
}

/** Its line leads to its page, until it is deleted. */
export function isLinked({ look }) {
  return Boolean(look?.href);
}

export function allFilms() {
  return [...films];
}

export function inState(...states) {
  return [...films].filter((film) => states.includes(film.state));
}

/** How many there are in these states; without any, in all. */
export function numberOf(...states) {
  return states.length ? states.reduce((sum, state) => sum + (numbers.get(state) ?? 0), 0) : films.size;
}

/** Draw within this frame: a folder may bring thousands. */
export function ask() {
  if (!isAsked) requestAnimationFrame(draw);
  isAsked = true;
}

function add(state, number) {
  numbers.set(state, numberOf(state) + number);
}

function draw() {
  isAsked = false;
  const focused = document.activeElement;
  const chosen = choose();
  const items = new Set(chosen.map((film) => film.item));
  for (const item of [...list.children]) if (!items.has(item)) item.remove();
  let next = list.firstElementChild;
  for (const film of chosen) {
    if (film.isChanged) drawLine(film);
    if (film.item === next) next = next.nextElementSibling;
    else list.insertBefore(film.item, next);
  }
  if (focused !== document.activeElement && list.contains(focused)) focused.focus({ preventScroll: true });
  const left = films.size - chosen.length;
  more.hidden = !left;
  more.textContent = left ? `and ${left} more` : "";
  tellDrawn();
}

/** In the order in which they were chosen, but for those in trouble; films are sent in that order too. */
function choose() {
  const troubled = inState(...TROUBLE);
  const others = troubled.length ? allFilms().filter((film) => !TROUBLE.includes(film.state)) : allFilms();
  const begun = others.findLastIndex((film) => film.state !== "waiting") + 1;
  const end = Math.min(others.length, Math.max(DRAWN, begun + AHEAD));
  const isNear = (at) => at >= end - DRAWN && at < end;
  return [...troubled.slice(0, DRAWN_IN_TROUBLE), ...others.filter(({ state }, at) => isNear(at) || BEING_SENT.includes(state))];
}

function drawLine(film) {
  const { name, item, look, acts } = film;
  const hadFocus = item !== document.activeElement && item.contains(document.activeElement);
  const title = element("span", "upload-name", name);
  title.title = name;
  const word = element("span", "upload-word");
  word.append(look.progress ?? linked(look.words, look.href));
  if (look.code) word.append(" ", linked(look.code, `/problems#${look.code}`));
  const buttons = element("span", "upload-acts");
  buttons.append(...acts.map(([words, act]) => makeButton(film, words, act)));
  item.dataset.state = film.state;
  item.replaceChildren(title, word, buttons);
  film.isChanged = false;
  if (hadFocus) item.focus({ preventScroll: true });
}

function linked(words, href) {
  if (!href) return words;
  const link = element("a", "", words);
  link.href = href;
  return link;
}

function makeButton(film, words, act) {
  const made = element("button", "plain", words);
  made.type = "button";
  made.setAttribute("aria-label", `${words}: ${film.name}`);
  made.addEventListener("click", act);
  return made;
}
