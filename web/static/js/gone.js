// Which films have been deleted since they were sent: on their page, in another tab, by the API or after their time.

const AT_ONCE = 100; // ids a question

/** Those of these jobs that are gone, as far as the service answers. */
export async function findGone(ids) {
  const gone = new Set();
  for (let at = 0; at < ids.length; at += AT_ONCE) {
    const jobs = ids.slice(at, at + AT_ONCE).join(" ");
    const answer = await fetch(`/gone?${new URLSearchParams({ jobs })}`).catch(() => null);
    const found = answer?.ok ? await answer.json().catch(() => null) : null;
    if (!found) break;
    for (const id of found) gone.add(id);
  }
  return gone;
}
