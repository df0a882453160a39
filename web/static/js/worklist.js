// The live list: asks for what it does not show as it is now, at once when a film sent from here has ended; keeps one
// page of rows in order, each film once; moves by j and k.

import { rememberOrder, takeLastFilm } from "./neighbours.js";
import { isTaken, keep, say, showTimes } from "./page.js";

const PAGE_ROWS = 30;
const WAIT_S = 20; // for one film; one that takes longer is waited for again after the others
const PAUSE_MS = 5000; // before it is waited for again where no answer came, and twice as long each time up to the longest
const LONGEST_PAUSE_MS = 60_000;
const TOGETHER_MS = 100; // films that come or end within it ask for the list once
const rows = document.getElementById("rows");
const live = document.getElementById("live");
const sent = []; // films whose end is waited for, one after the other: a browser has few connections to one host
let isWaiting = false;
let isDue = false;

function tellWhatIsShown(event) {
  if (event.target !== live) return;
  const parameters = event.detail.parameters;
  const shown = [];
  const waiting = [];
  for (const row of rows.rows) {
    if ("done" in row.dataset) shown.push(row.dataset.job);
    else waiting.push(`${row.dataset.job}.${row.dataset.status}`);
  }
  parameters.set("shown", shown.join(" "));
  parameters.set("waiting", waiting.join(" "));
  if (live.dataset.cursor) parameters.set("cursor", live.dataset.cursor);
  if (live.dataset.statusFilter) parameters.set("status", live.dataset.statusFilter);
  if (live.dataset.verdictFilter) parameters.set("verdict", live.dataset.verdictFilter);
  if (live.dataset.batchFilter) parameters.set("batch", live.dataset.batchFilter);
  if (live.dataset.reviewedFilter) parameters.set("reviewed", live.dataset.reviewedFilter);
}

/** Newest first: ids sort by the time they were made. A row that was here before is not moved, so it keeps the focus. */
function putInPlace(row) {
  let next = row.nextElementSibling;
  while (next && next.dataset.job > row.dataset.job) next = next.nextElementSibling;
  if (next !== row.nextElementSibling) rows.insertBefore(row, next);
}

function keepOnePage() {
  for (const row of [...rows.rows].reverse()) putInPlace(row);
  const older = document.getElementById("older");
  if (rows.rows.length > PAGE_ROWS) older.hidden = false;
  else if (rows.rows.length < PAGE_ROWS && !live.dataset.cursor) older.hidden = true; // the first page is kept full
  while (rows.rows.length > PAGE_ROWS) rows.deleteRow(-1);
  const ids = [...rows.rows].map((row) => row.dataset.job);
  if (ids.length) {
    const link = new URL(older.href);
    link.searchParams.set("cursor", ids.at(-1));
    older.href = link.href;
  }
  rememberOrder(ids, older.hidden ? "" : older.href);
}

/** Leave out new rows that are there already; hand the focus on before its row goes. */
function beforeSwap(event) {
  const { target, fragment } = event.detail;
  if (target === rows) {
    for (const row of fragment.querySelectorAll("tr")) if (document.getElementById(row.id)) row.remove();
  } else if (target.matches("#rows tr") && !fragment.querySelector("td")) {
    if (target.contains(document.activeElement)) move(target.nextElementSibling ? 1 : -1);
    tellLeft(target.dataset.job);
  }
}

function afterSwap(event) {
  const row = event.target.closest?.("#rows tr");
  if (row) {
    row.classList.add("fresh");
    if ("done" in row.dataset) {
      say(row.dataset.say);
      tellEnded(row.dataset.job);
    }
    showTimes(row);
  }
}

function tellEnded(jobId) {
  document.dispatchEvent(new CustomEvent("plainfilm:ended", { detail: jobId }));
}

/** It is in the list no longer: it was deleted, or passes the filter no more. */
function tellLeft(jobId) {
  document.dispatchEvent(new CustomEvent("plainfilm:left", { detail: jobId }));
}

function onAccepted(event) {
  refresh();
  sent.push(event.detail);
  if (!isWaiting) waitForSent();
}

function refresh() {
  if (isDue) return;
  isDue = true;
  setTimeout(() => {
    isDue = false;
    htmx.trigger(live, "refresh");
  }, TOGETHER_MS);
}

async function waitForSent() {
  isWaiting = true;
  let pauseMs = PAUSE_MS;
  while (sent.length) {
    const job = sent.shift();
    const row = document.getElementById(`job-${job.id}`);
    if (job.done || (row && "done" in row.dataset)) {
      tellEnded(job.id);
      continue;
    }
    const answer = await fetch(job.links.self, { headers: { Prefer: `wait=${WAIT_S}` } }).catch(() => null);
    if ([401, 403].includes(answer?.status)) break; // the session is over
    if ([404, 410].includes(answer?.status)) { // deleted since
      tellLeft(job.id);
      continue;
    }
    const found = answer?.ok ? await answer.json().catch(() => null) : null;
    if (found) pauseMs = PAUSE_MS;
    if (found?.done) tellEnded(job.id);
    else sent.push(job);
    if (!found) { // too many wait, say
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
      pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS);
    }
    refresh();
  }
  sent.length = 0;
  isWaiting = false;
}

function move(step) {
  const links = [...rows.querySelectorAll("a")];
  const at = links.indexOf(document.activeElement);
  const next = at < 0 ? (step > 0 ? 0 : links.length - 1) : at + step;
  links[Math.max(0, Math.min(links.length - 1, next))]?.focus();
}

/** The reader who comes back from a film goes on where it stands in the list. */
function focusLastFilm() {
  const link = document.getElementById(`open-${takeLastFilm()}`);
  if (document.activeElement === document.body) link?.focus();
}

function showCurrentFilters() {
  for (const link of document.querySelectorAll(".filters [aria-current]")) {
    const strip = link.closest("nav");
    strip.scrollLeft = link.offsetLeft - (strip.clientWidth - link.offsetWidth) / 2;
  }
}

function onKey(event) {
  if (isTaken(event)) return;
  if (event.key === "j") move(1);
  else if (event.key === "k") move(-1);
}

document.addEventListener("htmx:configRequest", tellWhatIsShown);
document.addEventListener("htmx:oobBeforeSwap", beforeSwap);
document.addEventListener("htmx:oobAfterSwap", afterSwap);
live.addEventListener("htmx:afterRequest", keepOnePage);
document.addEventListener("keydown", onKey);
document.addEventListener("plainfilm:accepted", onAccepted);
keepOnePage();
showCurrentFilters();
focusLastFilm();
keep("plainfilm-worklist", location.search, "sessionStorage"); // where the other pages lead back to
