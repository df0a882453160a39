// From film to film in the worklist's order: the list remembers its rows for this tab, a film's page has links and keys
// to those beside it, and back in the list the row of the last film has the focus.

import { isTaken, keep, recall, say } from "./page.js";

const LIST = "plainfilm-worklist"; // its query, as `worklist.js` keeps it
const ORDER = "plainfilm-order";
const OLDER = "plainfilm-older";
const LAST = "plainfilm-film";

/** The list's films from top to bottom, as ids, and where those older than them are listed; empty where there are none. */
export function rememberOrder(ids, older) {
  keep(ORDER, ids.join(" "), "sessionStorage");
  keep(OLDER, older, "sessionStorage");
}

/** Which film the reader comes from; told once. */
export function takeLastFilm() {
  const last = recall(LAST, "sessionStorage");
  keep(LAST, "", "sessionStorage");
  return last;
}

/** Show the links to the films beside this one, where the list that the reader came from had it. */
export function setUpNeighbours() {
  const strip = document.getElementById("neighbours");
  const { job } = strip.dataset;
  keep(LAST, job, "sessionStorage");
  const ids = (recall(ORDER, "sessionStorage") ?? "").split(" ");
  const at = ids.indexOf(job);
  if (at < 0) return;
  const older = recall(OLDER, "sessionStorage");
  const isPart = older || recall(LIST, "sessionStorage")?.includes("cursor=");
  strip.querySelector(".number").textContent = `${at + 1} of ${ids.length} ${isPart ? "on this page" : "in the list"}`;
  for (const [way, id] of [["prev", ids[at - 1]], ["next", ids[at + 1]]]) {
    if (id) strip.querySelector(`[rel="${way}"]`).href = `/jobs/${id}`;
  }
  if (older && !ids[at + 1]) leadToOlder(strip.querySelector('[rel="next"]'), older);
  strip.hidden = false;
  document.addEventListener("keydown", (event) => {
    if (isTaken(event)) return;
    if (event.key === "j") follow(strip, "next", "This is the last film of the list.");
    else if (event.key === "k") follow(strip, "prev", `This is the first film of ${isPart ? "this page" : "the list"}.`);
  });
}

/** A film that is deleted leads back to the list as the reader saw it. */
export function setUpDeletion() {
  document.addEventListener("submit", ({ target }) => {
    if (target.closest(".deleting")) target.action = target.action.split("?")[0] + (recall(LIST, "sessionStorage") ?? "");
  });
}

/** The list goes on where its page ends. */
function leadToOlder(link, older) {
  link.href = older;
  link.title = "Older films of the list (j)";
  link.firstChild.textContent = "Older";
  link.querySelector("span").textContent = " films";
}

function follow(strip, way, words) {
  const link = strip.querySelector(`[rel="${way}"][href]`);
  if (link) link.click();
  else say(words);
}
