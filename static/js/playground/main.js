// The playground: puts the parts together. Each part says what happened; what follows is decided here.

import { announce } from "../announce.js";
import { Composer } from "./composer.js";
import { ConversationStore } from "./conversations.js";
import { History } from "./history.js";
import { Notice } from "./notice.js";
import { buildRequest, Parameters } from "./parameters.js";
import { PlaygroundSocket } from "./socket.js";
import { text } from "./strings.js";
import { Transcript } from "./transcript.js";
import { showCode } from "./viewcode.js";

const byId = (id) => document.getElementById(id);
const root = byId("playground");

const socket = new PlaygroundSocket(root.dataset.socket);
const store = new ConversationStore(root.dataset.user);
const parameters = new Parameters(byId("parameters-form"));
const composer = new Composer(byId("composer"));
const notice = new Notice(byId("notice"));
const transcript = new Transcript({
  list: byId("transcript"),
  scroller: byId("scroller"),
  latest: byId("latest"),
});
const history = new History(store, {
  list: byId("conversation-list"),
  empty: byId("no-conversations"),
  undo: byId("undo"),
});

let models = [];
let connection = "connecting";
let conversation = store.create(parameters.settings);
let running = null; // {id, view}: the reply being written
let requests = 0;

// -- What the page shows ----------------------------------------------------------------------

function chosenModel() {
  return models.find(({ name }) => name === parameters.settings.model);
}

const isReady = () => connection === "open" && chosenModel()?.state === "ready";
const isBusy = () => running !== null || !isReady();

function refresh() {
  notice.show(connection, chosenModel());
  composer.setState({ running: running !== null, ready: isReady() });
  root.classList.toggle("is-busy", isBusy()); // hides edit and regenerate
  root.classList.toggle("is-empty", conversation.messages.length === 0);
}

function open(next) {
  stop();
  conversation = next;
  parameters.settings = next.settings;
  transcript.show(next.messages);
  history.show(next.id);
  byId("conversations").hidePopover();
  refresh();
  composer.focus();
}

// -- A message and its reply ------------------------------------------------------------------

function send(content) {
  const message = { role: "user", content };
  conversation.messages.push(message);
  transcript.addUser(message, conversation.messages.length - 1);
  requestReply();
}

function requestReply() {
  const { settings } = parameters;
  const request = buildRequest(settings, conversation.messages);
  const reply = { role: "assistant", content: "", model: settings.model };
  const id = String((requests += 1));
  conversation.settings = settings;
  conversation.messages.push(reply);
  running = { id, view: transcript.addReply(reply) };
  save();
  refresh();
  announce(text("replying"));
  if (!socket.send({ type: "chat", id, request })) endReply({ error: { code: "connection_lost" } });
}

function endReply(end) {
  const { view } = running;
  running = null;
  view.finish(end);
  save();
  refresh();
  announce(end.error ? text("reply_failed") : text("reply_done", { reply: view.message.content }));
}

function stop() {
  if (running) socket.send({ type: "stop" });
}

function save() {
  store.save(conversation);
  history.show(conversation.id);
}

/** Forgets everything from message `index` on. */
function rewind(index) {
  conversation.messages.length = index;
  transcript.show(conversation.messages);
}

/** The messages of the request that "View code" shows: the next one, else the last one. */
function messagesToShow() {
  const { messages } = conversation;
  const last = messages.findLastIndex(({ role }) => role === "user");
  if (composer.text) return [...messages, { role: "user", content: composer.text }];
  return last < 0 ? [{ role: "user", content: text("hello") }] : messages.slice(0, last + 1);
}

// -- What happens -----------------------------------------------------------------------------

const onFrame = {
  models(frame) {
    models = frame.models;
    parameters.setModels(models);
    parameters.setContextLength(chosenModel()?.context_length);
    refresh();
  },
  started() {},
  delta: (frame) => running.view.append(frame.text, frame.completion_tokens),
  done: (frame) => endReply({ stats: { ...frame.usage, ...frame } }),
  error: (frame) => endReply({ error: frame.error }),
};

socket.addEventListener("frame", ({ detail: frame }) => {
  const ours = running && (frame.id === running.id || frame.id === null); // null: ours could not be read
  if (frame.type === "models" || ours) onFrame[frame.type](frame);
});
socket.addEventListener("state", ({ detail: { state } }) => {
  connection = state;
  if (running && state !== "open") endReply({ error: { code: "connection_lost" } });
  refresh();
});
notice.addEventListener("retry", () => socket.connect());
composer.addEventListener("send", ({ detail: content }) => send(content));
composer.addEventListener("stop", stop);
transcript.addEventListener("edit", ({ detail: { index, content } }) => {
  if (isBusy()) return;
  rewind(index);
  send(content);
});
transcript.addEventListener("regenerate", () => {
  if (isBusy()) return;
  rewind(conversation.messages.length - 1);
  requestReply();
});
parameters.addEventListener("change", refresh);
history.addEventListener("open", ({ detail }) => open(detail));
history.addEventListener("deleted", ({ detail: id }) => {
  if (id === conversation.id) open(store.create(parameters.settings));
});
for (const button of document.querySelectorAll("[data-new-chat]")) {
  button.addEventListener("click", () => open(store.create(parameters.settings)));
}
for (const button of document.querySelectorAll("[data-suggestion]")) {
  button.addEventListener("click", () => composer.submit(button.dataset.suggestion));
}
byId("view-code").addEventListener("click", () => {
  showCode(byId("code-dialog"), buildRequest(parameters.settings, messagesToShow()));
});
addEventListener("pagehide", () => running && store.save(conversation));

history.show(conversation.id);
refresh();
socket.connect();
composer.focus();
