// One reply in the transcript while it is being written, and how it ended.

import { copyOnClick } from "./copy.js";
import { explain } from "./errors.js";
import { renderMarkdown, StreamingMarkdown } from "./markdown.js";
import { formatCount, formatDuration, formatRate, text } from "./strings.js";

const template = document.getElementById("assistant-message-template");
const WAITING_SHOWN = 100; // ms between two looks at the clock before the first token

/** `message` is the conversation's own object; the view fills it. `onGrow` is told whenever it is taller. */
export class ReplyView {
  #stats;
  #body;
  #markdown;
  #onGrow;
  #timer = 0;
  #sentAt = 0;
  #firstAt = 0;

  constructor(message, onGrow = () => {}) {
    this.message = message;
    this.#onGrow = onGrow;
    this.element = template.content.cloneNode(true).firstElementChild;
    this.#body = this.element.querySelector("[data-body]");
    this.#stats = this.element.querySelector("[data-stats]");
    this.#markdown = new StreamingMarkdown(this.#body, onGrow);
    this.element.querySelector("[data-model]").textContent = message.model;
    copyOnClick(this.element.querySelector("[data-action=copy]"), message);
  }

  /** Draws a reply that has ended. */
  showEnded() {
    this.#body.replaceChildren(renderMarkdown(this.message.content));
    this.#showEnd();
    return this;
  }

  /** The request has gone out: show that something happens, and for how long it has. */
  start() {
    this.#sentAt = performance.now();
    this.element.classList.add("is-waiting");
    this.#timer = setInterval(() => {
      const waited = formatDuration(performance.now() - this.#sentAt);
      this.#stats.textContent = text("waiting", { time: waited });
    }, WAITING_SHOWN);
    return this;
  }

  /** `completionTokens`: how many there are up to and with `delta`. */
  append(delta, completionTokens) {
    const now = performance.now();
    if (!this.#firstAt) {
      this.#firstAt = now;
      clearInterval(this.#timer);
      this.element.classList.replace("is-waiting", "is-writing");
    }
    this.message.content += delta;
    this.#markdown.append(delta);
    this.#showStats({
      ttft_ms: this.#firstAt - this.#sentAt,
      tokens_per_second: completionTokens > 1 ? ((completionTokens - 1) * 1000) / (now - this.#firstAt) : null,
      completion_tokens: completionTokens,
    });
  }

  /** The end, by the server's word: `stats`, with `finish_reason`, or `error` (OpenAI's error object). */
  finish({ stats = null, error = null }) {
    clearInterval(this.#timer);
    Object.assign(this.message, { stats, error });
    this.element.classList.remove("is-waiting", "is-writing");
    this.#markdown.finish(this.message.content);
    this.#showEnd();
    this.#onGrow();
  }

  #showEnd() {
    const { stats, error } = this.message;
    this.#stats.textContent = "";
    if (stats) this.#showStats(stats);
    if (stats?.finish_reason === "cancelled") this.#showNote(text("stopped"));
    if (stats?.finish_reason === "length") this.#showNote(text("length"));
    if (error) this.#showError(error);
  }

  #showStats({ ttft_ms, tokens_per_second, prompt_tokens, completion_tokens }) {
    const parts = [];
    if (ttft_ms) parts.push(text("ttft", { time: formatDuration(ttft_ms) }));
    if (tokens_per_second) parts.push(text("rate", { rate: formatRate(tokens_per_second) }));
    if (prompt_tokens) parts.push(text("tokens_in", { count: formatCount(prompt_tokens) }));
    parts.push(text("tokens_out", { count: formatCount(completion_tokens) }));
    // A line may break between them only.
    const whole = parts.map((part) => Object.assign(document.createElement("span"), { className: "nowrap", textContent: part }));
    this.#stats.replaceChildren(...whole.flatMap((span, at) => (at ? [" · ", span] : [span])));
  }

  #showNote(note) {
    const element = this.element.querySelector("[data-note]");
    element.textContent = note;
    element.hidden = false;
  }

  #showError(error) {
    const { hint, detail } = explain(error);
    this.element.querySelector("[data-error-hint]").textContent = hint;
    this.element.querySelector("[data-error-detail]").textContent = detail;
    this.element.querySelector("[data-error]").hidden = false;
  }
}
