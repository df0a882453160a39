// The findings' own doings: the picker of methods, the reader's form, and where the focus goes when what had it is replaced.

import { say } from "./page.js";

/** Another method: its description at once, and its map too where it is there; else the former one goes until Show.
 *
 * No answer of a former one, to a poll or to a press, takes the choice back.
 */
export function setUpPicker(redraw) {
  document.addEventListener("change", (event) => {
    if (event.target.id !== "method") return;
    const [option] = event.target.selectedOptions;
    const section = event.target.closest("#heatmap");
    section.toggleAttribute("data-left", option.value !== section.dataset.method);
    document.getElementById("method-words").textContent = option.dataset.words;
    if ("ready" in option.dataset) event.target.form.requestSubmit();
    else changePending(section, option, redraw);
  });
  document.addEventListener("htmx:configRequest", (event) => isOfLeftMap(event.target) && event.preventDefault());
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { elt, parameters } = event.detail.requestConfig;
    if (isOfLeftMap(elt) || isOfLeftMethod(parameters.method)) event.detail.shouldSwap = false;
  });
}

/** True of the method that was asked for by a form, where another one was chosen since. */
function isOfLeftMethod(method) {
  return method !== undefined && method !== document.getElementById("method")?.value;
}

/** True where the section itself asks, which is a poll, and another method was chosen since it came. */
function isOfLeftMap(asking) {
  return asking.id === "heatmap" && "left" in asking.dataset;
}

function changePending(section, option, redraw) {
  const isPending = option.value !== section.dataset.method;
  section.toggleAttribute("data-pending", isPending);
  document.getElementById("not-made").hidden = !isPending && section.dataset.mapStatus !== "none";
  if (isPending) say(`${option.textContent}: its heatmap has not been computed yet.`);
  redraw();
}

/** What the reader says of the film leads back to the map that is shown, which may have come since the form did. */
export function setUpReview() {
  document.addEventListener("submit", ({ target: form }) => {
    if (form.closest(".review")) form.action = new URL(form.action).pathname + location.search;
  });
}

/** After a swap that took the focused button away, the focus goes to the heading of what came for it. */
export function setUpFocus() {
  let heading = "";
  document.addEventListener("htmx:beforeSwap", (event) => {
    const focused = document.activeElement;
    heading = event.detail.target.contains(focused) && focused !== document.body ? headingOf(focused) : "";
  });
  document.addEventListener("htmx:afterSettle", (event) => {
    if (!heading || document.activeElement !== document.body) return;
    event.target.querySelector(heading)?.focus();
    heading = "";
  });
}

/** Of the numbers their own, so that it stays where the reader looks. */
function headingOf(element) {
  return element.closest(".worth") ? ".worth h3[tabindex]" : "h1[tabindex], h2[tabindex]";
}
