// The light, dark or system switch. `theme.js` applies the stored choice on the next page.
const root = document.documentElement;
const buttons = document.querySelectorAll("[data-theme-switch] button");

function show() {
  const current = root.dataset.theme ?? "auto";
  for (const button of buttons) button.setAttribute("aria-pressed", String(button.value === current));
}

function choose(theme) {
  if (theme === "auto") {
    localStorage.removeItem("theme");
    delete root.dataset.theme;
  } else {
    localStorage.setItem("theme", theme);
    root.dataset.theme = theme;
  }
  show();
  document.dispatchEvent(new CustomEvent("themechange"));
}

for (const button of buttons) button.addEventListener("click", () => choose(button.value));
show();
