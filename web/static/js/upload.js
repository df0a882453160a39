// Films on their way in: chosen, dropped or pasted; three at a time; each with its progress, refusal, cancel and retry,
// those in trouble first, and a line that counts them. The name is shown here only; the service never keeps it.

import { makeBatch } from "./batch.js";
import { gatherChosen, gatherDropped, isZip } from "./gather.js";
import { isTaken, say } from "./page.js";
import { save, toCsv } from "./sentlist.js";
import { cancelJob, describe, pauseOf, post, renewToken, tellEnd } from "./send.js";

const AT_ONCE = 3;
const CAN_CANCEL = ["waiting", "sending", "paused"];
const ON_THE_WAY = [...CAN_CANCEL, "cancelling"];
const COUNTED = [
  [ON_THE_WAY, "on the way"],
  [["accepted"], "sent"],
  [["unsent"], "not sent"],
  [["refused"], "refused"],
  [["cancelled"], "cancelled"],
];
const NOT_SENT = "Cancelled before it was sent.";
const NOT_TAKEN = "Cancelled; the service has not taken it.";
const ON_ITS_WAY = "Cancelled on its way. Should it have arrived all the same, it is in the list.";
const ZIP = "A ZIP is not opened here: unpack it and choose its folder, or send it by plainfilm classify, which opens ZIPs.";
const button = document.getElementById("upload");
const input = document.getElementById("files");
const priority = document.getElementById("priority");
const box = document.getElementById("sending");
const sum = document.getElementById("sending-sum");
const list = document.getElementById("uploads");
const retryAll = document.getElementById("retry-all");
const dismissSent = document.getElementById("dismiss-sent");
const dismissRefused = document.getElementById("dismiss-refused");
const dismissCancelled = document.getElementById("dismiss-cancelled");
const cancelAll = document.getElementById("cancel-all");
const skippedWords = document.getElementById("skipped");
const folder = document.getElementById("folder");
const folderFiles = document.getElementById("folder-files");
const saveList = document.getElementById("save-list");
const batchLink = document.getElementById("batch-link");
const drop = document.getElementById("drop");
const limit = Number(button.dataset.limit);
const films = new Set();
const waiting = [];
let sending = 0;
let isCounting = false;

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

/** One film on the page; its key stays through retries, so that none is accepted twice. `batch` is awaited. */
function addFilm({ file, name: told }, batch) {
  const film = { file, batch, key: randomKey(), priority: priority.value, item: element("li", "upload"), tries: 0 };
  const name = element("span", "upload-name", told || "pasted film");
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

/** Once for all that changes at a time: a folder may bring thousands. */
function count() {
  if (!isCounting) queueMicrotask(showCounts);
  isCounting = true;
}

function showCounts() {
  isCounting = false;
  const parts = COUNTED.map(([states, words]) => [inState(...states).length, words]).filter(([number]) => number);
  sum.textContent = parts.map(([number, words]) => `${number} ${words}`).join(", ");
  retryAll.hidden = inState("unsent").length < 2;
  dismissSent.hidden = inState("accepted").length < 2;
  dismissRefused.hidden = inState("refused").length < 2;
  dismissCancelled.hidden = inState("cancelled").length < 2;
  cancelAll.hidden = inState(...CAN_CANCEL).length < 2;
  saveList.hidden = !inState("accepted").length || inState(...ON_THE_WAY).length > 0;
  box.hidden = films.size === 0 && !skippedWords.textContent;
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

function addCancel(film) {
  addAct(film, "Cancel", () => {
    cancel([film]);
    film.item.focus();
  });
}

/**
 * Take films back. One that waits is left out, one of which a part was sent is broken off, and of one that has arrived
 * the answer is waited for: what the service accepted, the service is asked to cancel.
 */
function cancel(cancelled) {
  for (const film of cancelled) {
    film.isCancelled = true;
    clearTimeout(film.timer);
    if (film.item.dataset.state !== "sending") {
      if (waiting.includes(film)) waiting.splice(waiting.indexOf(film), 1);
      endCancelled(film, wordsFor(film));
    } else {
      show(film, "cancelling", "Cancelling");
      film.stop?.();
    }
  }
}

function wordsFor(film) {
  return film.hasBegun ? ON_ITS_WAY : NOT_SENT;
}

function endCancelled(film, ...content) {
  show(film, "cancelled", ...content);
  addAct(film, "Dismiss", () => dismiss([film]));
  say(`${film.name}: ${film.word.textContent}`);
}

/** Of a film that was cancelled while it was accepted: have the service cancel it, and say what came of that. */
async function withdraw(film, job) {
  const end = job.done ? "ended" : await cancelJob(job);
  if (end === "cancelled") {
    const link = element("a", "", "Cancelled after it had arrived: open the film");
    link.href = job.links.page;
    film.job = job;
    film.hasEnded = true;
    endCancelled(film, link);
    document.dispatchEvent(new CustomEvent("plainfilm:accepted", { detail: job }));
    return;
  }
  accept(film, job);
  if (end === "failed") film.link.textContent = "Accepted, and not cancelled: open the film to try again";
  else if (!job.done) showEnd(job.id);
}

function pause(film, seconds) {
  show(film, "paused", `The connection was lost. The next try is in ${seconds} s.`);
  addCancel(film);
  film.timer = setTimeout(() => enqueue(film), seconds * 1000);
}

function settle(film, found) {
  const seconds = found.status === 0 ? pauseOf(film.tries) : undefined;
  const isAccepted = found.status === 202 || found.status === 200;
  if (isAccepted && film.isCancelled) withdraw(film, found.answer);
  else if (isAccepted) accept(film, found.answer);
  else if (film.isCancelled) endCancelled(film, found.status ? NOT_TAKEN : wordsFor(film));
  else if (seconds) pause(film, seconds);
  else refuse(film, describe(found));
}

async function send(film) {
  const progress = element("progress", "");
  progress.max = 1;
  progress.setAttribute("aria-label", `Sending ${film.name}`);
  show(film, "sending", progress);
  addCancel(film);
  film.tries += 1;
  sending += 1;
  const found = await post(film, {
    onProgress: (share) => (progress.value = share),
    onWhole: () => progress.setAttribute("aria-label", `The service looks at ${film.name}`),
  });
  sending -= 1;
  settle(film, found);
  fill();
}

function fill() {
  while (sending < AT_ONCE && waiting.length) send(waiting.shift());
}

function enqueue(film) {
  markWaiting(film);
  waiting.push(film);
  fill();
}

function markWaiting(film) {
  show(film, "waiting", "Waiting to be sent");
  addCancel(film);
}

async function retry(retried) {
  retried[0].item.focus();
  for (const film of retried) {
    film.tries = 0;
    markWaiting(film);
  }
  await renewToken();
  retried.filter((film) => !film.isCancelled).forEach(enqueue);
}

/** On the page of a batch it is that one; elsewhere films that come together get one of their own. */
async function chooseBatch(number) {
  if (button.dataset.batch) return { id: button.dataset.batch };
  if (number < 2) return null;
  const made = await makeBatch(randomKey());
  if (made) {
    batchLink.href = made.page;
    batchLink.hidden = false;
  }
  return made;
}

/** Send what was found; tell of what was left out, and what can be known to be refused. */
function take({ found, skipped }) {
  tellSkipped(found.length, skipped);
  const refusals = new Map(found.map((one) => [one, foresee(one)]));
  const batch = chooseBatch(found.filter((one) => !refusals.get(one)).length);
  for (const one of found) {
    const film = addFilm(one, batch);
    const refusal = refusals.get(one);
    if (refusal) refuse(film, refusal);
    else enqueue(film);
  }
}

function foresee(one) {
  if (isZip(one)) return { detail: ZIP };
  if (one.file.size <= limit) return null;
  return { detail: `The file is larger than the ${Math.floor(limit / 2 ** 20)} MiB that this service takes.`, code: "too_large" };
}

function tellSkipped(found, skipped) {
  const words = skipped === 1 ? "1 file that is no film was left out." : `${skipped} files that are no films were left out.`;
  skippedWords.textContent = skipped ? `${found ? "" : "No film was found. "}${words}` : "";
  if (skipped) say(skippedWords.textContent);
  count();
}

function hasFiles(event) {
  return event.dataTransfer?.types.includes("Files");
}

button.addEventListener("click", () => input.click());
retryAll.addEventListener("click", () => retry(inState("unsent")));
dismissSent.addEventListener("click", () => dismiss(inState("accepted")));
dismissRefused.addEventListener("click", () => dismiss(inState("refused")));
dismissCancelled.addEventListener("click", () => dismiss(inState("cancelled")));
cancelAll.addEventListener("click", () => {
  cancel(inState(...CAN_CANCEL));
  button.focus();
});
saveList.addEventListener("click", () => save(toCsv([...films])));
folder.hidden = !("webkitdirectory" in folderFiles);
folder.addEventListener("click", () => folderFiles.click());
for (const chooser of [input, folderFiles]) {
  chooser.addEventListener("change", () => {
    const files = [...chooser.files];
    chooser.value = "";
    gatherChosen(files).then(take);
  });
}
document.addEventListener("keydown", (event) => {
  if (event.key === "u" && !isTaken(event)) input.click();
});
window.addEventListener("beforeunload", (event) => inState(...ON_THE_WAY).length && event.preventDefault());
document.addEventListener("plainfilm:ended", (event) => showEnd(event.detail));
document.addEventListener("paste", (event) => gatherChosen(event.clipboardData.files).then(take));
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
  gatherDropped(event.dataTransfer).then(take);
});
