// Before the first paint: dark unless the reader's system or an earlier choice says light. Not a module, so it blocks.
(() => {
  let theme = null;
  try {
    theme = localStorage.getItem("plainfilm-theme");
  } catch {
    // storage is denied: the system's wish stands
  }
  if (theme !== "light" && theme !== "dark") {
    theme = matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark";
  }
  document.documentElement.dataset.theme = theme;
  document.getElementById("light").media = theme === "light" ? "all" : "print"; // paper is light in any case
})();
