// The websocket to the playground's consumer. Comes back by itself when the line drops.

const FIRST_WAIT = 500; // ms; doubles with every failed try
const LONGEST_WAIT = 15_000;
const SIGNED_OUT = 4401; // close code: the session has ended, trying again is no use

/**
 * Events: "frame" (detail: the server's frame) and "state" (detail: {state}), where state is
 * "connecting", "open", "waiting" (with `retryIn` ms) or "signed-out".
 */
export class PlaygroundSocket extends EventTarget {
  #url;
  #socket = null;
  #failures = 0;
  #timer = 0;

  constructor(path) {
    super();
    this.#url = new URL(path, location.href);
    this.#url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    addEventListener("online", () => this.connect());
    document.addEventListener("visibilitychange", () => document.hidden || this.connect());
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** Connects now, unless it is connected or about to be. */
  connect() {
    if (this.#socket && this.#socket.readyState <= WebSocket.OPEN) return;
    clearTimeout(this.#timer);
    this.#announce("connecting");
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    socket.onmessage = (event) => this.#receive(JSON.parse(event.data));
    socket.onopen = () => this.#announce("open");
    socket.onclose = (event) => this.#closed(event.code);
  }

  /** Sends one frame; false when the line is down. */
  send(frame) {
    if (!this.isOpen) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  #receive(frame) {
    this.#failures = 0; // only a server that talks has truly taken us back
    this.dispatchEvent(new CustomEvent("frame", { detail: frame }));
  }

  #closed(code) {
    if (code === SIGNED_OUT) return this.#announce("signed-out");
    const longest = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.#failures);
    const retryIn = longest * (0.5 + Math.random() / 2); // so that a restart is not met by all pages at once
    this.#failures += 1;
    this.#timer = setTimeout(() => this.connect(), retryIn);
    this.#announce("waiting", { retryIn });
  }

  #announce(state, more = {}) {
    this.dispatchEvent(new CustomEvent("state", { detail: { state, ...more } }));
  }
}
