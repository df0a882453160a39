// The tools of the film by keys, as ARIA's pattern of a toolbar has it: one stop for Tab, arrows, Home and End within.

const STEPS = { ArrowRight: 1, ArrowLeft: -1 };

export function setUpDial() {
  const dial = document.querySelector(".dial");
  dial.addEventListener("focusin", (event) => keepOneStop(dial, event.target));
  dial.addEventListener("keydown", (event) => onKey(dial, event));
  new MutationObserver(() => keepOneStop(dial)).observe(dial, { attributeFilter: ["disabled"], subtree: true });
  keepOneStop(dial);
}

/** Tab comes to this button, else to the one that it came to before, or to the first where that cannot be used. */
function keepOneStop(dial, wished = dial.querySelector('[tabindex="0"]')) {
  const open = findOpen(dial);
  const stop = open.includes(wished) ? wished : open[0];
  for (const button of dial.querySelectorAll("button")) button.tabIndex = button === stop ? 0 : -1;
  if (dial.contains(document.activeElement) && document.activeElement.disabled) stop?.focus();
}

/** Whether or not letters work: there is no other way to most of the buttons. */
function onKey(dial, event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  const open = findOpen(dial);
  const at = open.indexOf(event.target);
  const next = { Home: 0, End: open.length - 1 }[event.key] ?? (at + STEPS[event.key] + open.length) % open.length;
  if (at < 0 || Number.isNaN(next)) return;
  event.preventDefault(); // of the page, which would scroll
  open[next].focus();
}

function findOpen(dial) {
  return [...dial.querySelectorAll("button:enabled")];
}
