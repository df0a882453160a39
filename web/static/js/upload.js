// Films on their way in: chosen, dropped or pasted; three at a time; each with its progress, refusal and retry, those
// in trouble first, and a line that counts them. The name is shown here only; the service never keeps it.

import { isTaken, say } from "./page.js";
import { save, toCsv } from "./sentlist.js";
import { describe, pauseOf, post, renewToken, tellEnd } from "./send.js";

const AT_ONCE = 3;
const ON_THE_WAY = ["waiting", "sending", "paused"];
const COUNTED = [
  [ON_THE_WAY, "on the way"],
  [["accepted"], "sent"],
  [["unsent"], "not sent"],
  [["refused"], "refused"],
];
const button = document.getElementById("upload");
const input = document.getElementById("files");
const priority = document.getElementById("priority");
const box = document.getElementById("sending");
const sum = document.getElementById("sending-sum");
const list = document.getElementById("uploads");
const retryAll = document.getElementById("retry-all");
const dismissSent = document.getElementById("dismiss-sent");
const dismissRefused = document.getElementById("dismiss-refused");
const saveList = document.getElementById("save-list");
const drop = document.getElementById("drop");
const limit = Number(button.dataset.limit);
const films = new Set();
const waiting = [];
let sending = 0;

function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

/** One film on the page; its key stays through retries, so that none is accepted twice. */
function addFilm(file) {
  const film = { file, key: randomKey(), priority: priority.value, item: element("li", "upload"), tries: 0 };
  const name = element("span", "upload-name", file.name || "pasted film");
  name.title = name.textContent;
  film.name = name.textContent;
  film.word = element("span", "upload-word");
  film.acts = element("span", "upload-acts");
  film.item.append(name, film.word, film.acts);
  film.item.tabIndex = -1;
  list.append(film.item);
  films.add(film);
  return film;
}

function show(film, state, ...content) {
  film.item.dataset.state = state;
  film.word.replaceChildren(...content);
  film.acts.replaceChildren();
  count();
}

function inState(...states) {
  return [...films].filter((film) => states.includes(film.item.dataset.state));
}

function count() {
  const parts = COUNTED.map(([states, words]) => [inState(...states).length, words]).filter(([number]) => number);
  sum.textContent = parts.map(([number, words]) => `${number} ${words}`).join(", ");
  retryAll.hidden = inState("unsent").length < 2;
  dismissSent.hidden = inState("accepted").length < 2;
  dismissRefused.hidden = inState("refused").length < 2;
  saveList.hidden = !inState("accepted").length || inState(...ON_THE_WAY).length > 0;
  box.hidden = films.size === 0;
}

function addAct(film, words, act) {
  const made = element("button", "plain", words);
  made.type = "button";
  made.setAttribute("aria-label", `${words}: ${film.name}`);
  made.addEventListener("click", act);
  film.acts.append(made);
}

function dismiss(dismissed) {
  for (const film of dismissed) {
    film.item.remove();
    films.delete(film);
  }
  count();
  button.focus();
}

function refuse(film, problem) {
  show(film, problem.canRetry ? "unsent" : "refused", problem.detail);
  if (problem.code) {
    const link = element("a", "", problem.code);
    link.href = `/problems#${problem.code}`;
    film.word.append(" ", link);
  }
  if (problem.canRetry) addAct(film, "Retry", () => retry([film]));
  addAct(film, "Dismiss", () => dismiss([film]));
  list.prepend(film.item);
  say(`${film.name} was ${problem.canRetry ? "not sent" : "refused"}: ${problem.detail}`);
}

function accept(film, job) {
  film.job = job;
  film.link = element("a", "", job.done ? "Answered at once: open the film" : "Accepted: open the film");
  film.link.href = job.links.page;
  show(film, "accepted", film.link);
  addAct(film, "Dismiss", () => dismiss([film]));
  say(`${film.name} was ${job.done ? "answered at once" : "accepted"}.`);
  document.dispatchEvent(new CustomEvent("plainfilm:accepted", { detail: job }));
  if (job.done) showEnd(job.id);
}

/** Say in the line of a film what became of it. */
async function showEnd(jobId) {
  const film = [...films].find((one) => one.job?.id === jobId && !one.hasEnded);
  if (!film) return;
  film.hasEnded = true;
  const told = await tellEnd(jobId);
  if (told) film.link.textContent = film.job.cached ? `As the same film before. ${told}` : told;
}

function pause(film, seconds) {
  show(film, "paused", `The connection was lost. The next try is in ${seconds} s.`);
  setTimeout(() => enqueue(film), seconds * 1000);
}

function settle(film, found) {
  const seconds = found.status === 0 ? pauseOf(film.tries) : undefined;
  if (found.status === 202 || found.status === 200) accept(film, found.answer);
  else if (seconds) pause(film, seconds);
  else refuse(film, describe(found));
}

async function send(film) {
  const progress = element("progress", "");
  progress.max = 1;
  progress.setAttribute("aria-label", `Sending ${film.name}`);
  show(film, "sending", progress);
  film.tries += 1;
  sending += 1;
  const found = await post(film, (share) => (progress.value = share));
  sending -= 1;
  settle(film, found);
  fill();
}

function fill() {
  while (sending < AT_ONCE && waiting.length) send(waiting.shift());
}

function enqueue(film) {
  show(film, "waiting", "Waiting to be sent");
  waiting.push(film);
  fill();
}

async function retry(retried) {
  retried[0].item.focus();
  for (const film of retried) {
    film.tries = 0;
    show(film, "waiting", "Waiting to be sent");
  }
  await renewToken();
  retried.forEach(enqueue);
}

function take(files) {
  for (const file of files) {
    const film = addFilm(file);
    if (file.size > limit) {
      const detail = `The file is larger than the ${Math.floor(limit / 2 ** 20)} MiB that this service takes.`;
      refuse(film, { detail, code: "too_large" });
    } else {
      enqueue(film);
    }
  }
}

function hasFiles(event) {
  return event.dataTransfer?.types.includes("Files");
}

button.addEventListener("click", () => input.click());
retryAll.addEventListener("click", () => retry(inState("unsent")));
dismissSent.addEventListener("click", () => dismiss(inState("accepted")));
dismissRefused.addEventListener("click", () => dismiss(inState("refused")));
saveList.addEventListener("click", () => save(toCsv([...films])));
input.addEventListener("change", () => {
  take([...input.files]);
  input.value = "";
});
document.addEventListener("keydown", (event) => {
  if (event.key === "u" && !isTaken(event)) input.click();
});
window.addEventListener("beforeunload", (event) => inState(...ON_THE_WAY).length && event.preventDefault());
document.addEventListener("plainfilm:ended", (event) => showEnd(event.detail));
document.addEventListener("paste", (event) => take([...event.clipboardData.files]));
document.addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  drop.hidden = false;
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) drop.hidden = true;
});
document.addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  drop.hidden = true;
  take([...event.dataTransfer.files]);
});
