// Conversations, kept in this browser and nowhere else: one localStorage entry each, so that two
// tabs do not overwrite each other's.
//
// A conversation: {id, title, named, updated, settings, messages}, where a message is
// {role: "user" | "assistant", content, stats?, error?} and settings is what parameters.js reads.

const TITLE_LENGTH = 60;

export class ConversationStore extends EventTarget {
  #prefix;
  #memory = new Map(); // what the disk refused (private mode, no room) lives until the page closes

  /** `owner` keeps the people who share a browser apart. Event: "change", made by another tab. */
  constructor(owner) {
    super();
    this.#prefix = `playground:${owner}:`;
    addEventListener("storage", (event) => {
      if (event.key?.startsWith(this.#prefix)) this.dispatchEvent(new Event("change"));
    });
  }

  /** A new, empty one. It is kept from its first message on. */
  create(settings) {
    const id = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
    return { id, title: "", named: false, updated: Date.now(), settings, messages: [] };
  }

  /** All of them, the latest first. */
  list() {
    const found = new Map(this.#memory);
    for (const key of this.#keys()) {
      const conversation = this.#read(key);
      if (conversation) found.set(conversation.id, conversation);
    }
    return [...found.values()].sort((one, other) => other.updated - one.updated);
  }

  save(conversation) {
    conversation.updated = Date.now();
    if (!conversation.named) conversation.title = titleOf(conversation);
    this.#write(conversation);
  }

  rename(conversation, title) {
    conversation.title = title.trim().slice(0, TITLE_LENGTH) || titleOf(conversation);
    conversation.named = Boolean(title.trim());
    this.#write(conversation);
  }

  delete(id) {
    this.#memory.delete(id);
    localStorage.removeItem(this.#prefix + id);
  }

  #keys() {
    return Object.keys(localStorage).filter((key) => key.startsWith(this.#prefix));
  }

  #read(key) {
    try {
      const conversation = JSON.parse(localStorage.getItem(key));
      return Array.isArray(conversation?.messages) ? conversation : null;
    } catch {
      return null; // not written by this page
    }
  }

  /** When the disk is full the oldest conversations make room. */
  #write(conversation) {
    const others = this.list().filter(({ id }) => id !== conversation.id && !this.#memory.has(id));
    for (;;) {
      try {
        localStorage.setItem(this.#prefix + conversation.id, JSON.stringify(conversation));
        this.#memory.delete(conversation.id);
        return;
      } catch {
        const oldest = others.pop();
        if (!oldest) return void this.#memory.set(conversation.id, conversation);
        this.delete(oldest.id);
      }
    }
  }
}

function titleOf({ messages }) {
  const first = messages.find(({ role }) => role === "user")?.content ?? "";
  const line = first.trim().replace(/\s+/g, " ");
  return line.length > TITLE_LENGTH ? `${line.slice(0, TITLE_LENGTH - 1)}…` : line;
}
