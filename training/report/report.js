// The theme: the reader's system decides until the button does. Before the first paint, so not deferred.
(() => {
  const root = document.documentElement;
  const set = (theme) => {
    root.dataset.theme = theme;
    document.getElementById("theme")?.setAttribute("aria-pressed", String(theme === "light"));
  };
  set(matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark");
  addEventListener("DOMContentLoaded", () => {
    set(root.dataset.theme);
    document.getElementById("theme").addEventListener("click", () => {
      set(root.dataset.theme === "light" ? "dark" : "light");
    });
  });
})();
