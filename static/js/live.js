// Keeps a part of a page up to date: asks for it every two seconds while it is looked at.
const EVERY = 2000;
const live = document.querySelector("[data-live]");
let shown = "";

async function refresh() {
  const answer = await fetch(live.dataset.live, { redirect: "error" });
  if (!answer.ok) return;
  const html = await answer.text();
  // Whoever has the keyboard in it would lose their place.
  if (html === shown || live.contains(document.activeElement)) return;
  shown = html;
  live.innerHTML = html;
}

async function watch() {
  // The server may be starting again: keep what is shown, and keep asking.
  if (!document.hidden) await refresh().catch(() => {});
  setTimeout(watch, EVERY);
}

watch();
