// The box at the bottom: writing, sending, stopping.

import { enterSubmits } from "./keys.js";

/** Events: "send" (detail: the text) and "stop". */
export class Composer extends EventTarget {
  #box;
  #send;
  #stop;
  #running = false;
  #ready = false;

  constructor(form) {
    super();
    this.#box = form.querySelector("textarea");
    this.#send = form.querySelector("[data-send]");
    this.#stop = form.querySelector("[data-stop]");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#box.addEventListener("input", () => this.#update());
    this.#stop.addEventListener("click", () => this.#requestStop());
    enterSubmits(this.#box, () => this.#submit(), () => this.#requestStop());
    this.#update();
  }

  /** `running`: a reply is being written. `ready`: a message could be sent now. */
  setState({ running, ready }) {
    const hadFocus = this.#stop === document.activeElement;
    this.#running = running;
    this.#ready = ready;
    this.#update();
    if (hadFocus && !running) this.focus(); // a hidden button must not take the focus with it
  }

  get text() {
    return this.#box.value.trim();
  }

  /** Not on a phone, where it would raise the keyboard over the page. */
  focus() {
    if (matchMedia("(pointer: fine)").matches) this.#box.focus();
  }

  /** Sends `text` as if it had been written here; where it cannot be sent it stays in the box. */
  submit(text) {
    this.#box.value = text;
    this.#update();
    this.#submit();
    this.focus();
  }

  #update() {
    this.#stop.hidden = !this.#running;
    this.#send.hidden = this.#running;
    this.#send.disabled = !this.#ready || !this.text;
  }

  #submit() {
    const { text } = this;
    if (this.#running || !this.#ready || !text) return;
    this.#box.value = "";
    this.#update();
    this.dispatchEvent(new CustomEvent("send", { detail: text }));
  }

  #requestStop() {
    if (this.#running) this.dispatchEvent(new Event("stop"));
  }
}
