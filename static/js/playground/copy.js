// Copies a message as it was written: the Markdown, not what it looks like.

import { announce } from "../announce.js";
import { copyText } from "../copy.js";
import { text } from "./strings.js";

const SHOWN = 1500; // ms that the button says so

export function copyOnClick(button, message) {
  const idle = button.textContent;
  button.addEventListener("click", async () => {
    await copyText(message.content);
    announce(text("copied"));
    button.textContent = text("copied");
    setTimeout(() => (button.textContent = idle), SHOWN);
  });
}
