// One film on its way to the service, and what the service's answer comes to. Knows nothing of the page but its token.

import { csrfToken } from "./page.js";

const PAUSES_S = [1, 3, 9]; // before each further try after a lost connection
const TRY_LATER = [429, 503, 507]; // it is not the film: there is no room, or a part of the service is away
const HOLD_S = 5; // where no Retry-After says
const LONGEST_HOLD_S = 60;
const ENDED = "This session has ended. Open a new one-time link in another tab, then retry.";
const LOST = "The connection was lost before an answer came.";
const GONE = "The file can no longer be read; choose it again.";
const HURT = ["digest_mismatch", "malformed_request"]; // what came was not what was sent

/**
 * Send a film under its key, into its batch where it has one; status 0 where no answer came, or it was cancelled.
 * `isGone` where its file was moved, changed or deleted since it was chosen.
 */
export async function post(film, { onProgress, onWhole }) {
  const batch = await film.batch;
  const content = await film.file.arrayBuffer().catch(() => null);
  if (!content) return { status: 0, answer: {}, isGone: true };
  const digest = await makeDigest(content).catch(() => "");
  if (film.isCancelled) return { status: 0, answer: {} };
  const request = new XMLHttpRequest(); // fetch does not tell how much was sent
  const where = new URLSearchParams({ priority: film.priority, ...(batch && { batch: batch.id }) });
  request.open("POST", `/api/v1/jobs?${where}`);
  request.setRequestHeader("X-CSRFToken", csrfToken());
  request.setRequestHeader("Idempotency-Key", film.key);
  request.setRequestHeader("Content-Type", "application/octet-stream");
  if (digest) request.setRequestHeader("Content-Digest", digest);
  request.upload.onprogress = (event) => onProgress(event.loaded / event.total);
  request.upload.onload = () => {
    film.stop = null; // all of it is there, so its answer is waited for
    onWhole();
  };
  film.stop = () => request.abort();
  film.hasBegun = true;
  request.send(content);
  return new Promise((resolve) => {
    request.onloadend = () => {
      resolve({ status: request.status, answer: readAnswer(request), retryAfter: request.getResponseHeader("Retry-After") });
    };
  });
}

/** What its bytes are, so that damage on the way is noticed. Browsers make none over plain HTTP from elsewhere. */
async function makeDigest(content) {
  const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  return `sha-256=:${btoa(String.fromCharCode(...sum))}:`;
}

/** Have the service cancel a job: "cancelled", "ended" where that came first, else "failed". */
export async function cancelJob(job) {
  const answer = await fetch(job.links.cancel, { method: "POST", headers: { "X-CSRFToken": csrfToken() } }).catch(() => null);
  if (answer?.ok) return "cancelled";
  return answer?.status === 409 ? "ended" : "failed";
}

function readAnswer(request) {
  try {
    return JSON.parse(request.responseText);
  } catch {
    return {};
  }
}

/** Seconds until a lost film is sent again by itself; undefined when it was tried often enough. */
export function pauseOf(tries) {
  return PAUSES_S[tries - 1];
}

/** Seconds for which nothing is sent where the service takes no film now; undefined where it answered otherwise. */
export function holdOf({ status, retryAfter }) {
  if (!TRY_LATER.includes(status)) return undefined;
  const asked = /^\d+$/.test(retryAfter ?? "") ? Number(retryAfter) : HOLD_S; // a date is some proxy's
  return Math.min(Math.max(asked, 1), LONGEST_HOLD_S);
}

/** Why a film was not taken: in plain words, with its code, and whether sending it again can help. */
export function describe({ status, answer, isGone }) {
  if (isGone) return { detail: GONE };
  if (status === 0) return { detail: LOST, canRetry: true };
  if (status === 401) return { detail: ENDED, canRetry: true };
  const detail = (answer.detail ?? `The service answered ${status}.`).replaceAll("`", "");
  const canRetry = status >= 500 || [403, 408].includes(status) || HURT.includes(answer.code);
  return { detail, code: answer.code, canRetry };
}

/** After a new link was opened in another tab this page's token is of the old session: take over the new one. */
export async function renewToken() {
  const found = await getPage("/");
  const token = found?.querySelector('meta[name="csrf-token"]')?.content;
  if (token) document.querySelector('meta[name="csrf-token"]').content = token;
}

/** What became of a job, in one line; empty while that is not known. */
export async function tellEnd(jobId) {
  const row = document.getElementById(`job-${jobId}`);
  if (row && "done" in row.dataset) return row.dataset.say;
  const found = (await getPage(`/jobs/${jobId}/findings`))?.getElementById("findings");
  return found && !found.dataset.events ? found.dataset.say : "";
}

async function getPage(address) {
  const answer = await fetch(address, { headers: { Accept: "text/html" } }).catch(() => null);
  return answer?.ok ? new DOMParser().parseFromString(await answer.text(), "text/html") : null;
}
