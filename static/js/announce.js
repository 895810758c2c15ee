// Says a short text to screen readers.
export function announce(text) {
  const announcer = document.getElementById("announcer");
  announcer.textContent = "";
  // The same text twice is only read again when the node was empty in between.
  requestAnimationFrame(() => (announcer.textContent = text));
}
