// Films on their way in: chosen, dropped or pasted; three at a time; each with its progress, refusal and retry.
// The name is shown here only; the service never keeps it.

import { csrfToken, isTaken, say } from "./page.js";

const AT_ONCE = 3;
const button = document.getElementById("upload");
const input = document.getElementById("files");
const priority = document.getElementById("priority");
const list = document.getElementById("uploads");
const drop = document.getElementById("drop");
const limit = Number(button.dataset.limit);
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
  const film = { file, key: randomKey(), priority: priority.value, item: element("li", "upload") };
  const name = element("span", "upload-name", file.name || "pasted film");
  name.title = name.textContent;
  film.name = name.textContent;
  film.word = element("span", "upload-word", "Waiting to be sent");
  film.acts = element("span", "upload-acts");
  film.item.append(name, film.word, film.acts);
  list.append(film.item);
  list.hidden = false;
  return film;
}

function show(film, state, ...content) {
  film.item.dataset.state = state;
  film.word.replaceChildren(...content);
  film.acts.replaceChildren();
}

function addAct(film, words, act) {
  const made = element("button", "plain", words);
  made.type = "button";
  made.setAttribute("aria-label", `${words}: ${film.name}`);
  made.addEventListener("click", act);
  film.acts.append(made);
}

function dismiss(film) {
  film.item.remove();
  list.hidden = list.childElementCount === 0;
  button.focus();
}

function refuse(film, problem) {
  show(film, "refused", document.createTextNode(problem.detail));
  if (problem.code) {
    const link = element("a", "", problem.code);
    link.href = `/problems#${problem.code}`;
    film.word.append(" ", link);
  }
  if (problem.retryable) addAct(film, "Retry", () => enqueue(film));
  addAct(film, "Dismiss", () => dismiss(film));
  say(`${film.name} was refused: ${problem.detail}`);
}

function accept(film, job) {
  const link = element("a", "", "Accepted: open the film");
  link.href = job.links.page;
  show(film, "accepted", link);
  addAct(film, "Dismiss", () => dismiss(film));
  say(`${film.name} was accepted.`);
  document.dispatchEvent(new CustomEvent("plainfilm:accepted", { detail: job }));
}

function readAnswer(request) {
  try {
    return JSON.parse(request.responseText);
  } catch {
    return {};
  }
}

function settle(film, request) {
  const answer = readAnswer(request);
  if (request.status === 202 || request.status === 200) return accept(film, answer);
  const isPassing = request.status >= 500 || request.status === 429;
  const detail = answer.detail ?? `The service answered ${request.status}.`;
  return refuse(film, { detail, code: answer.code, retryable: isPassing });
}

function send(film) {
  const progress = element("progress", "");
  progress.max = 1;
  progress.setAttribute("aria-label", `Sending ${film.name}`);
  show(film, "sending", progress);
  const form = new FormData();
  form.append("file", film.file, "film");
  const request = new XMLHttpRequest(); // fetch does not tell how much was sent
  request.open("POST", `/api/v1/jobs?priority=${film.priority}`);
  request.setRequestHeader("X-CSRFToken", csrfToken());
  request.setRequestHeader("Idempotency-Key", film.key);
  request.upload.onprogress = (event) => (progress.value = event.loaded / event.total);
  request.onload = () => settle(film, request);
  request.onerror = () => refuse(film, { detail: "The connection was lost before an answer came.", retryable: true });
  request.onloadend = sendNext;
  sending += 1;
  request.send(form);
}

function sendNext() {
  sending = Math.max(0, sending - 1);
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
input.addEventListener("change", () => {
  take([...input.files]);
  input.value = "";
});
document.addEventListener("keydown", (event) => {
  if (event.key === "u" && !isTaken(event)) input.click();
});
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
