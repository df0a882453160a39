// Follows a job that is not done by its server-sent events; where they do not come, the page's polling goes on.

const POLL_ANYWAY_MS = 10_000; // while the stream is open: should an event ever be missed, the page still moves
let source = null;
let askedAt = 0;

/** Ask what became of the job that the findings name at each of its events; only while the page is seen. */
export function follow(findings) {
  const address = findings().dataset.events;
  if (!address || document.hidden) stop();
  else if (!source) listen(address);
}

/** The part of the page that asks; none where the answer is there already. */
function ask() {
  const waiting = document.getElementById("waiting");
  if (waiting) htmx.trigger(waiting, "changed");
}

function listen(address) {
  source = new EventSource(address);
  source.addEventListener("status", ask);
  source.addEventListener("done", () => {
    stop(); // first: should this question fail, polling goes on
    ask();
  });
  source.addEventListener("error", () => source?.readyState === EventSource.CLOSED && stop()); // else it comes again
}

/** A browser has few connections to one host, and a page that nobody sees needs none. */
function stop() {
  source?.close();
  source = null;
}

/** True where this is a poll of a job that the open stream makes needless. */
export function isNeedless(event) {
  if (event.target.id !== "waiting" || event.detail.verb !== "get") return false;
  const isPoll = !event.detail.triggeringEvent;
  const isOpen = source?.readyState === EventSource.OPEN;
  if (isPoll && isOpen && Date.now() - askedAt < POLL_ANYWAY_MS) return true;
  askedAt = Date.now();
  return false;
}
