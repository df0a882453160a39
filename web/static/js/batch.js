// Films that are chosen together go into one batch, so that they can be followed together.

import { csrfToken } from "./page.js";

/** Make a batch: its id and the page that lists it; null where none could be made, and films go without. */
export async function makeBatch(key) {
  const headers = { "X-CSRFToken": csrfToken(), "Idempotency-Key": key };
  const answer = await fetch("/api/v1/batches", { method: "POST", headers }).catch(() => null);
  if (!answer?.ok) return null;
  const { id, links } = await answer.json();
  return { id, page: links.page };
}
