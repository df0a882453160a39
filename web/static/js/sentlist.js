// The list of the films that were sent: which file became which job. The service keeps no file names, so this list is the
// only place that has both: as a CSV file made here, and kept by the browser for this tab and session, should the page
// be left.

import { wordsOf } from "./lines.js";
import { csrfToken, keep, recall } from "./page.js";

export const MOST_KEPT = 2000; // lines
const KEPT = "plainfilm-sent";
const SETTLED = ["accepted", "refused", "cancelled"];
const NOT_SENT = "Not sent: you left the page first. Choose the file again.";
const NOT_KNOWN = "You left the page before it was accepted. If it arrived anyway, it is in the list.";
const HEADS = ["file", "state", "told", "job", "page", "upload_sha256"];

/** One line a film, in the order in which they were chosen. */
export function toCsv(films) {
  const lines = films.map((film) => {
    const { name, state, job, look } = film;
    const page = look.href ? new URL(look.href, location.href).href : ""; // none of one that was deleted
    return [name, state, wordsOf(film), job?.id ?? "", page, job?.input.sha256 ?? ""];
  });
  return [HEADS, ...lines].map((line) => `${line.map(toCell).join(",")}\r\n`).join("");
}

/** In quotes; what a spreadsheet would take for a formula, as a file name may look like one, is marked as text. */
function toCell(words) {
  const safe = /^[=+\-@\t\r]/.test(words) ? `'${words}` : words;
  return `"${safe.replaceAll('"', '""')}"`;
}

/** Have the browser save it. */
export function save(csv) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(["\ufeff", csv], { type: "text/csv" })); // the mark tells Excel that it is UTF-8
  link.download = "plainfilm-list.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Keep the list for a return in this tab: names stay in this browser, and another session does not see them. */
export function remember(films, batch) {
  const lines = films.slice(-MOST_KEPT).map(toKept);
  keep(KEPT, lines.length ? JSON.stringify({ session: sessionOf(), batch, lines }) : "", "sessionStorage");
}

/** What was kept: {lines: [{name, state, look, job, hasEnded}], batch: the address of its list}. */
export function recallSent() {
  const kept = JSON.parse(recall(KEPT, "sessionStorage") || "{}");
  if (kept.session === sessionOf()) return kept;
  keep(KEPT, "", "sessionStorage");
  return { lines: [], batch: "" };
}

function toKept({ name, state, look, job, hasEnded, hasBegun }) {
  if (!SETTLED.includes(state)) return { name, state: "cancelled", look: { words: hasBegun ? NOT_KNOWN : NOT_SENT } };
  if (!job) return { name, state, look };
  const { id, cached, input: { sha256 }, links: { page, self } } = job;
  return { name, state, look, hasEnded, job: { id, cached, input: { sha256 }, links: { page, self } } };
}

/** The part of the page's token that is one for all pages of a session. */
function sessionOf() {
  return csrfToken().split(".")[0];
}
