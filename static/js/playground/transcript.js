// The messages on the page.

import { copyOnClick } from "./copy.js";
import { enterSubmits } from "./keys.js";
import { ReplyView } from "./reply.js";

const userTemplate = document.getElementById("user-message-template");
const editTemplate = document.getElementById("edit-template");
const NEAR_END = 64; // px from the end at which the view still follows the text

/** Events: "edit" (detail: {index, content}) and "regenerate". */
export class Transcript extends EventTarget {
  #list;
  #scroller;
  #latest;
  #following = true;

  constructor({ list, scroller, latest }) {
    super();
    this.#list = list;
    this.#scroller = scroller;
    this.#latest = latest;
    scroller.addEventListener("scroll", () => this.#noticeScroll(), { passive: true });
    latest.addEventListener("click", () => this.#follow());
    list.addEventListener("click", (event) => {
      if (event.target.closest("[data-action=regenerate]")) this.dispatchEvent(new Event("regenerate"));
    });
  }

  /** Draws `messages` anew. */
  show(messages) {
    this.#list.replaceChildren();
    messages.forEach((message, index) => {
      if (message.role === "user") this.#list.append(this.#userElement(message, index));
      else this.#list.append(new ReplyView(message).showEnded().element);
    });
    this.#follow();
  }

  addUser(message, index) {
    this.#list.append(this.#userElement(message, index));
    this.#follow();
  }

  /** Adds an empty reply and returns its view. */
  addReply(message) {
    const view = new ReplyView(message, () => this.#following && this.#toEnd()).start();
    this.#list.append(view.element);
    this.#follow();
    return view;
  }

  #userElement(message, index) {
    const element = userTemplate.content.cloneNode(true).firstElementChild;
    element.querySelector("[data-body]").textContent = message.content;
    copyOnClick(element.querySelector("[data-action=copy]"), message);
    element.querySelector("[data-action=edit]").addEventListener("click", () => this.#edit(element, message, index));
    return element;
  }

  #edit(element, message, index) {
    const item = editTemplate.content.cloneNode(true).firstElementChild;
    const form = item.querySelector("form");
    const box = form.querySelector("textarea");
    const close = () => {
      item.replaceWith(element);
      element.querySelector("[data-action=edit]").focus();
    };
    const submit = () => {
      const content = box.value.trim();
      if (content) this.dispatchEvent(new CustomEvent("edit", { detail: { index, content } }));
    };
    box.value = message.content;
    form.querySelector("[data-cancel]").addEventListener("click", close);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      submit();
    });
    enterSubmits(box, submit, close);
    element.replaceWith(item);
    box.focus();
  }

  #noticeScroll() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    this.#following = scrollHeight - scrollTop - clientHeight < NEAR_END;
    this.#latest.hidden = this.#following;
  }

  #follow() {
    this.#following = true;
    this.#latest.hidden = true;
    this.#toEnd();
  }

  #toEnd() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }
}
