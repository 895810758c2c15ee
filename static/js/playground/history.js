// The list of conversations at the side: open, rename, delete and undo that.

import { formatAge, text } from "./strings.js";

const template = document.getElementById("conversation-template");
const UNDO_SHOWN = 8000; // ms

/** Events: "open" (detail: the conversation) and "deleted" (detail: its id). */
export class History extends EventTarget {
  #store;
  #list;
  #empty;
  #undo;
  #undoTimer = 0;
  #currentId = "";

  constructor(store, { list, empty, undo }) {
    super();
    this.#store = store;
    this.#list = list;
    this.#empty = empty;
    this.#undo = undo;
    store.addEventListener("change", () => this.show(this.#currentId));
  }

  show(currentId) {
    this.#currentId = currentId;
    const conversations = this.#store.list();
    this.#empty.hidden = conversations.length > 0;
    this.#list.replaceChildren(...conversations.map((conversation) => this.#row(conversation)));
  }

  #row(conversation) {
    const row = template.content.cloneNode(true).firstElementChild;
    const open = row.querySelector("[data-open]");
    row.querySelector("[data-title]").textContent = conversation.title;
    row.querySelector("[data-age]").textContent = formatAge(conversation.updated);
    if (conversation.id === this.#currentId) open.setAttribute("aria-current", "true");
    open.addEventListener("click", () => this.dispatchEvent(new CustomEvent("open", { detail: conversation })));
    this.#action(row, "rename", conversation, () => this.#rename(row, conversation));
    this.#action(row, "delete", conversation, () => this.#delete(conversation));
    return row;
  }

  #action(row, name, { title }, run) {
    const button = row.querySelector(`[data-action=${name}]`);
    button.setAttribute("aria-label", text(name, { title }));
    button.title = button.getAttribute("aria-label");
    button.addEventListener("click", run);
  }

  #rename(row, conversation) {
    const input = row.querySelector("input");
    const finish = (keep) => {
      input.onblur = null;
      if (keep) this.#store.rename(conversation, input.value);
      this.show(this.#currentId);
    };
    row.classList.add("is-renaming");
    input.hidden = false;
    input.value = conversation.title;
    input.onblur = () => finish(true);
    input.onkeydown = (event) => {
      if (event.isComposing) return;
      if (event.key === "Enter" || event.key === "Escape") finish(event.key === "Enter");
    };
    input.select();
  }

  #delete(conversation) {
    this.#store.delete(conversation.id);
    this.show(this.#currentId);
    this.dispatchEvent(new CustomEvent("deleted", { detail: conversation.id }));
    this.#offerUndo(conversation);
  }

  #offerUndo(conversation) {
    clearTimeout(this.#undoTimer);
    this.#undo.hidden = false;
    this.#undoTimer = setTimeout(() => (this.#undo.hidden = true), UNDO_SHOWN);
    this.#undo.querySelector("button").onclick = () => {
      this.#undo.hidden = true;
      this.#store.save(conversation);
      this.dispatchEvent(new CustomEvent("open", { detail: conversation }));
    };
  }
}
