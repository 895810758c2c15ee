// What the keyboard does in a text box for messages.

/** True while the key belongs to an input method: Enter then chooses a candidate, it does not send. */
const isComposing = (event) => event.isComposing || event.keyCode === 229; // 229: Safari's last Enter of a composition

/** Enter submits, Shift+Enter starts a new line, Escape calls `cancel`. */
export function enterSubmits(box, submit, cancel) {
  box.addEventListener("keydown", (event) => {
    if (isComposing(event)) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      submit();
    } else if (event.key === "Escape") {
      cancel();
    }
  });
}
