// Runs before anything is drawn, so that a chosen theme does not flash.
(function () {
  try {
    const theme = localStorage.getItem("axonpush.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // Without storage the system's theme is used.
  }
})();
