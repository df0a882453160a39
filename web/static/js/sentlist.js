// The list of the films that were sent, as a CSV file made here: which file became which job. The service keeps no
// file names, so this list is the only place that has both.

import { wordsOf } from "./lines.js";

const HEADS = ["file", "state", "told", "job", "page", "upload_sha256"];

/** One line a film, in the order in which they were chosen. */
export function toCsv(films) {
  const lines = films.map((film) => {
    const { name, state, job } = film;
    const page = job ? new URL(job.links.page, location.href).href : "";
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
