// Tabs after the ARIA pattern: role=tablist > role=tab[aria-controls][data-choice]. Arrow keys move. The
// choice is kept, so that somebody who reads Python sees Python everywhere. Tabs without are Swagger UI's.
const CHOICE = "snippet";
const TAB = "[role=tab][data-choice]";

function select(tab, { focus = false } = {}) {
  for (const other of tab.closest("[role=tablist]").querySelectorAll(TAB)) {
    const chosen = other === tab;
    other.setAttribute("aria-selected", String(chosen));
    other.tabIndex = chosen ? 0 : -1;
    document.getElementById(other.getAttribute("aria-controls")).hidden = !chosen;
  }
  if (focus) tab.focus();
}

function choose(tab, options) {
  select(tab, options);
  localStorage.setItem(CHOICE, tab.dataset.choice);
}

function onKey(event) {
  const tab = event.target.closest(TAB);
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!tab || !step) return;
  const tabs = [...tab.closest("[role=tablist]").querySelectorAll(TAB)];
  choose(tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length], { focus: true });
  event.preventDefault();
}

document.addEventListener("click", (event) => {
  const tab = event.target.closest(TAB);
  if (tab) choose(tab);
});
document.addEventListener("keydown", onKey);

const choice = localStorage.getItem(CHOICE);
for (const tab of document.querySelectorAll(TAB)) if (tab.dataset.choice === choice) select(tab);
