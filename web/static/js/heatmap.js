// The findings' own doings: the picker of methods, and where the focus goes when what had it is replaced.

/** Another method: its description at once, and its map too where it is there. */
export function setUpPicker() {
  document.addEventListener("change", (event) => {
    if (event.target.id !== "method") return;
    const [option] = event.target.selectedOptions;
    document.getElementById("method-words").textContent = option.dataset.words;
    if ("ready" in option.dataset) event.target.form.requestSubmit();
  });
}

/** After a swap that took the focused button away, the focus goes to the heading of what came for it. */
export function setUpFocus() {
  let hadFocus = false;
  document.addEventListener("htmx:beforeSwap", (event) => {
    hadFocus = event.target.contains(document.activeElement) && document.activeElement !== document.body;
  });
  document.addEventListener("htmx:afterSettle", (event) => {
    if (!hadFocus || document.activeElement !== document.body) return;
    hadFocus = false;
    event.target.querySelector("h1[tabindex], h2[tabindex]")?.focus();
  });
}
