// Loaded before the first paint, so that a chosen theme never flashes. Not a module: those wait.
{
  const theme = localStorage.getItem("theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
}
