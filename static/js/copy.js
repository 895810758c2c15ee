// Copy buttons: <button class="copy" data-copied="Copied"> in a .code figure copies the code that
// is shown; with data-copy="id" it copies that element's text or value.
import { announce } from "./announce.js";

function source(button) {
  if (button.dataset.copy) return document.getElementById(button.dataset.copy);
  return button.closest(".code").querySelector("pre:not([hidden])");
}

// The clipboard API exists on https and localhost only; a site at http://10.0.0.5 needs the old way.
// While a modal dialog is open, everything outside it is inert: nothing there can be selected.
function copyBySelecting(text) {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "visually-hidden";
  ([...document.querySelectorAll("dialog:modal")].at(-1) ?? document.body).append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

export async function copyText(text) {
  if (navigator.clipboard) await navigator.clipboard.writeText(text);
  else copyBySelecting(text);
}

async function copy(button) {
  const element = source(button);
  await copyText(element.value ?? element.textContent);
  button.dataset.label ??= button.textContent;
  button.textContent = button.dataset.copied;
  announce(button.dataset.copied);
  clearTimeout(button.timer);
  button.timer = setTimeout(() => (button.textContent = button.dataset.label), 2000);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-copied]");
  if (button) copy(button);
});
