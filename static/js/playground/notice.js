// The line above the box that says why a message cannot be sent now.

import { formatShare, text } from "./strings.js";

/** Event: "retry", when the person does not want to wait for the next try to connect. */
export class Notice extends EventTarget {
  #element;

  constructor(element) {
    super();
    this.#element = element;
    this.#part("retry").addEventListener("click", () => this.dispatchEvent(new Event("retry")));
  }

  /** `connection`: the socket's state. `model`: the chosen one's status, or undefined before we know. */
  show(connection, model) {
    const { message, progress = null, retry = false, signIn = false } = whatToSay(connection, model);
    this.#element.hidden = !message;
    this.#part("message").textContent = message;
    this.#part("retry").hidden = !retry;
    this.#part("sign-in").hidden = !signIn;
    const bar = this.#part("progress");
    bar.hidden = progress === null;
    bar.value = progress ?? 0;
  }

  #part(name) {
    return this.#element.querySelector(`[data-${name}]`);
  }
}

function whatToSay(connection, model) {
  if (connection === "signed-out") return { message: text("signed_out"), signIn: true };
  if (connection === "waiting") return { message: text("connection_lost"), retry: true };
  if (connection === "connecting" || !model) return { message: text("connecting") };
  if (model.state === "failed") return { message: text("model_failed", { model: model.name, reason: model.reason }) };
  if (model.state === "ready") return { message: "" };
  const share = formatShare(model.progress);
  return { message: text("model_loading", { model: model.name, share }), progress: model.progress };
}
