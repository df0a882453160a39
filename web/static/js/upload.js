// Films on their way in: chosen, dropped or pasted; three at a time; each with its progress, refusal, cancel and retry,
// and a line that counts them. The name is shown and kept in this browser only; the service never learns it.

import { makeBatch } from "./batch.js";
import { gatherChosen, gatherDropped, isZip } from "./gather.js";
import { findGone } from "./gone.js";
import { addLine, afterDrawing, allFilms, ask, element, inState, isLinked, numberOf, removeLine, reword, show } from "./lines.js";
import { isTaken, say } from "./page.js";
import { MOST_KEPT, recallSent, remember, save, toCsv } from "./sentlist.js";
import { cancelJob, describe, holdOf, pauseOf, post, renewToken, tellEnd } from "./send.js";

const AT_ONCE = 3;
const FEW = 5; // films that are told one by one to those who listen
const TELL_MS = 10_000; // between the counts of more
const ASK_AGAIN_S = [5, 10, 20, 40, 60]; // what became of a film, where the page of it did not say
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
const NOT_TAKEN = "Cancelled; the service had not accepted it.";
const ON_ITS_WAY = "Cancelled during upload. If it arrived anyway, it is in the list.";
const ZIP = "ZIP files cannot be opened here: unpack it and choose its folder, or use plainfilm classify, which opens ZIPs.";
const button = document.getElementById("upload");
const input = document.getElementById("files");
const priority = document.getElementById("priority");
const box = document.getElementById("sending");
const sum = document.getElementById("sending-sum");
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
const waiting = []; // and some that were cancelled since
const held = []; // of those, the ones that the service did not take yet
const byJob = new Map();
let sending = 0;
let atOnce = AT_ONCE;
let heldUntil = 0; // nothing is sent before
let heldTimer = 0;
let told = { sum: "", at: 0 };

function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** One film on the page; its key stays through retries, so that none is accepted twice. `batch` is awaited. */
function addFilm({ file, name }, batch) {
  return addLine({ file, batch, name: name || "pasted film", key: randomKey(), priority: priority.value, tries: 0 });
}

function tellNumbers() {
  const parts = COUNTED.map(([states, words]) => [numberOf(...states), words]).filter(([number]) => number);
  return parts.map(([number, words]) => `${number} ${words}`).join(", ");
}

function showCounts() {
  const counts = tellNumbers();
  sum.textContent = heldUntil && numberOf("waiting", "paused") ? `${counts}; sending resumes at ${timeOf(heldUntil)}` : counts;
  retryAll.hidden = numberOf("unsent") < 2;
  dismissSent.hidden = numberOf("accepted") < 2;
  dismissRefused.hidden = numberOf("refused") < 2;
  dismissCancelled.hidden = numberOf("cancelled") < 2;
  cancelAll.hidden = numberOf(...CAN_CANCEL) < 2;
  saveList.hidden = !numberOf("accepted") || numberOf(...ON_THE_WAY) > 0;
  box.hidden = numberOf() === 0 && !skippedWords.textContent;
  if (numberOf() > FEW) tellCounts(counts);
}

/** Tell those who listen of one film among few; of many they hear the counts. */
function tell(words) {
  if (numberOf() <= FEW) say(words);
}

function tellCounts(counts) {
  const isOver = numberOf(...ON_THE_WAY) === 0;
  if (counts === told.sum || (!isOver && Date.now() - told.at < TELL_MS)) return;
  told = { sum: counts, at: Date.now() };
  say(counts);
}

function timeOf(moment) {
  return new Date(moment).toLocaleTimeString("en-GB");
}

function dismissalOf(film) {
  return ["Dismiss", () => dismiss([film])];
}

function dismiss(dismissed) {
  dismissed.forEach(removeLine);
  button.focus();
}

function refuse(film, { detail, code, canRetry }) {
  const retrial = canRetry ? [["Retry", () => retry([film])]] : [];
  show(film, canRetry ? "unsent" : "refused", { words: detail, code }, [...retrial, dismissalOf(film)]);
  tell(`${film.name} was ${canRetry ? "not sent" : "refused"}: ${detail}`);
}

function accept(film, job) {
  film.job = job;
  const words = job.done ? "Answered at once: open the film" : "Accepted: open the film";
  show(film, "accepted", { words, href: job.links.page }, [dismissalOf(film)]);
  tell(`${film.name} was ${job.done ? "answered at once" : "accepted"}.`);
  follow(film);
}

/** Have the list show it, and wait for its end. */
function follow(film) {
  const { job } = film;
  byJob.set(job.id, [...(byJob.get(job.id) ?? []), film]);
  document.dispatchEvent(new CustomEvent("plainfilm:accepted", { detail: job }));
  if (job.done) showEnd(job.id);
}

/** Say in the line of a film what became of it. */
async function showEnd(jobId, tries = 0) {
  const ended = (byJob.get(jobId) ?? []).filter((film) => !film.hasEnded);
  if (!ended.length) return;
  for (const film of ended) film.hasEnded = true;
  const end = await tellEnd(jobId);
  for (const film of ended.filter(isLinked)) {
    film.hasEnded = Boolean(end);
    if (end) reword(film, film.job.cached ? `Same film as before. ${end}` : end);
  }
  if (!end && tries < ASK_AGAIN_S.length) setTimeout(() => showEnd(jobId, tries + 1), ASK_AGAIN_S[tries] * 1000);
}

/** Say in the lines of films that were deleted since that they are, and lead to none of them; of all, or of one job. */
async function showGone(jobId) {
  const asked = allFilms().filter((film) => isLinked(film) && (!jobId || film.job.id === jobId));
  const gone = await findGone(asked.map(({ job }) => job.id));
  for (const film of allFilms().filter((each) => isLinked(each) && gone.has(each.job.id))) {
    film.hasEnded = true;
    show(film, film.state, { words: "Deleted" }, [dismissalOf(film)]);
    tell(`${film.name} was deleted.`);
  }
}

function cancellationOf(film) {
  return ["Cancel", () => {
    cancel([film]);
    film.item.focus();
  }];
}

/**
 * Take films back. One that waits is left out, one of which a part was sent is broken off, and of one that has arrived
 * the answer is waited for: what the service accepted, the service is asked to cancel.
 */
function cancel(cancelled) {
  for (const film of cancelled) {
    film.isCancelled = true;
    clearTimeout(film.timer);
    if (film.state !== "sending") {
      endCancelled(film, { words: wordsFor(film) });
    } else {
      show(film, "cancelling", { words: "Cancelling" });
      film.stop?.();
    }
  }
}

function wordsFor(film) {
  if (held.includes(film)) return NOT_TAKEN;
  return film.hasBegun ? ON_ITS_WAY : NOT_SENT;
}

function endCancelled(film, look) {
  show(film, "cancelled", look, [dismissalOf(film)]);
  tell(`${film.name}: ${look.words}`);
}

/** Of a film that was cancelled while it was accepted: have the service cancel it, and say what came of that. */
async function withdraw(film, job) {
  const end = job.done ? "ended" : await cancelJob(job);
  if (end === "cancelled") {
    film.job = job;
    film.hasEnded = true;
    endCancelled(film, { words: "Cancelled after it was accepted: open the film", href: job.links.page });
    document.dispatchEvent(new CustomEvent("plainfilm:accepted", { detail: job }));
    return;
  }
  accept(film, job);
  if (end === "failed") reword(film, "Accepted; it could not be cancelled: open the film to try again");
  else if (!job.done) showEnd(job.id);
}

function pause(film, seconds) {
  show(film, "paused", { words: `The connection was lost. The next try is in ${seconds} s.` }, [cancellationOf(film)]);
  film.timer = setTimeout(() => enqueue(film), seconds * 1000);
}

/** The service takes no film now: this one goes first once it is asked again, alone, and the others wait behind it. */
function hold(film, { detail, code }, seconds) {
  if (atOnce > 1) say(`Sending is paused: ${detail}`);
  atOnce = 1;
  if (!heldUntil) {
    heldUntil = Date.now() + seconds * 1000;
    heldTimer = setTimeout(goOn, seconds * 1000);
  }
  film.tries = 0;
  waiting.unshift(film);
  held.push(film);
  const words = `${detail} Sending resumes automatically at ${timeOf(heldUntil)}.`;
  show(film, "paused", { words, code }, [["Retry", goOn], cancellationOf(film)]);
}

function goOn() {
  clearTimeout(heldTimer);
  heldUntil = 0;
  held.splice(0).filter((film) => !film.isCancelled).forEach(markWaiting);
  fill();
}

function settle(film, found) {
  const seconds = found.status === 0 && !found.isGone ? pauseOf(film.tries) : undefined;
  const holdSeconds = holdOf(found);
  const isAccepted = found.status === 202 || found.status === 200;
  if (isAccepted) atOnce = AT_ONCE;
  if (isAccepted && film.isCancelled) withdraw(film, found.answer);
  else if (isAccepted) accept(film, found.answer);
  else if (film.isCancelled) endCancelled(film, { words: found.status ? NOT_TAKEN : wordsFor(film) });
  else if (holdSeconds) hold(film, describe(found), holdSeconds);
  else if (seconds) pause(film, seconds);
  else refuse(film, describe(found));
}

async function send(film) {
  const progress = element("progress", "");
  progress.max = 1;
  progress.setAttribute("aria-label", `Sending ${film.name}`);
  show(film, "sending", { progress }, [cancellationOf(film)]);
  film.tries += 1;
  sending += 1;
  const found = await post(film, {
    onProgress: (share) => (progress.value = share),
    onWhole: () => progress.setAttribute("aria-label", `The service is checking ${film.name}`),
  });
  sending -= 1;
  settle(film, found);
  fill();
}

function fill() {
  while (!heldUntil && sending < atOnce && waiting.length) {
    const film = waiting.shift();
    if (!film.isCancelled) send(film);
  }
}

function enqueue(film) {
  markWaiting(film);
  waiting.push(film);
  fill();
}

function markWaiting(film) {
  show(film, "waiting", { words: "Waiting to be sent" }, [cancellationOf(film)]);
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
  if (made) showBatch(made.page);
  return made;
}

function showBatch(address) {
  batchLink.href = address;
  batchLink.hidden = false;
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
  if (one.file.size === 0) return { detail: "The file is empty." };
  if (one.file.size <= limit) return null;
  return { detail: `The file is larger than the ${Math.floor(limit / 2 ** 20)} MiB that this service takes.`, code: "too_large" };
}

function tellSkipped(found, skipped) {
  const words = skipped === 1 ? "1 file was skipped: it is not a film." : `${skipped} files were skipped: they are not films.`;
  skippedWords.textContent = skipped ? `${found ? "" : "No film was found. "}${words}` : "";
  if (skipped) say(skippedWords.textContent);
  ask();
}

/** Draw again what was on the way when the page was left. */
function restore() {
  const { lines, batch } = recallSent();
  for (const { look, state, ...kept } of lines) {
    const film = addLine(kept);
    show(film, state, look, [dismissalOf(film)]);
    if (state === "accepted" && !film.hasEnded) follow(film);
  }
  if (batch) showBatch(batch);
  told.sum = tellNumbers(); // nothing new to those who listen
  showGone();
}

function rememberAll() {
  remember(allFilms(), batchLink.getAttribute("href"));
}

/** What would be lost with the page: films that are not sent, and which file became which job beyond what is kept. */
function isLeftInVain() {
  return numberOf(...ON_THE_WAY, "unsent") > 0 || numberOf() > MOST_KEPT;
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
saveList.addEventListener("click", () => save(toCsv(allFilms())));
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
window.addEventListener("beforeunload", (event) => isLeftInVain() && event.preventDefault());
window.addEventListener("pagehide", rememberAll);
document.addEventListener("visibilitychange", () => (document.hidden ? rememberAll() : showGone()));
document.addEventListener("plainfilm:left", (event) => showGone(event.detail));
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
afterDrawing(showCounts);
restore();
