// One film on its way to the service, and what the service's answer comes to. Knows nothing of the page but its token.

import { csrfToken } from "./page.js";

const PAUSES_S = [1, 3, 9]; // before each further try after a lost connection
const ENDED = "This session has ended. Open a new one-time link in another tab, then retry.";
const LOST = "The connection was lost before an answer came.";

/** Send a film under its key; status 0 where no answer came. */
export function post(film, onProgress) {
  const form = new FormData();
  form.append("file", film.file, "film");
  const request = new XMLHttpRequest(); // fetch does not tell how much was sent
  request.open("POST", `/api/v1/jobs?priority=${film.priority}`);
  request.setRequestHeader("X-CSRFToken", csrfToken());
  request.setRequestHeader("Idempotency-Key", film.key);
  request.upload.onprogress = (event) => onProgress(event.loaded / event.total);
  request.send(form);
  return new Promise((resolve) => {
    request.onloadend = () => resolve({ status: request.status, answer: readAnswer(request) });
  });
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

/** Why a film was not taken: in plain words, with its code, and whether sending it again can help. */
export function describe({ status, answer }) {
  if (status === 0) return { detail: LOST, canRetry: true };
  if (status === 401) return { detail: ENDED, canRetry: true };
  const detail = (answer.detail ?? `The service answered ${status}.`).replaceAll("`", "");
  return { detail, code: answer.code, canRetry: status >= 500 || status === 429 || status === 403 };
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
