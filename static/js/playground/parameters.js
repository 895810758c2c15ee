// The settings of a conversation: the form at the side, and the request they make.

const NUMBERS = ["temperature", "top_p", "max_tokens", "seed"];
const MAX_STOPS = 4; // the API's bound

/** Event: "change". Settings are {model, system, temperature, top_p, max_tokens, seed, stop: string[]}. */
export class Parameters extends EventTarget {
  #form;

  constructor(form) {
    super();
    this.#form = form;
    form.addEventListener("input", (event) => this.#mirror(event.target));
    form.addEventListener("change", (event) => {
      if (event.target.type === "number") keepInBounds(event.target);
      this.#mirror(event.target);
      this.dispatchEvent(new Event("change"));
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(() => this.#afterReset()));
  }

  get settings() {
    const fields = this.#form.elements;
    const settings = { model: fields.model.value, system: fields.system.value.trim() };
    for (const name of NUMBERS) settings[name] = fields[name].value === "" ? null : Number(fields[name].value);
    settings.stop = fields.stop.value.split("\n").filter(Boolean).slice(0, MAX_STOPS);
    return settings;
  }

  set settings(settings) {
    const fields = this.#form.elements;
    if ([...fields.model.options].some(({ value }) => value === settings.model)) fields.model.value = settings.model;
    fields.system.value = settings.system;
    fields.stop.value = settings.stop.join("\n");
    for (const name of NUMBERS) {
      fields[name].value = settings[name] ?? "";
      this.#mirror(fields[name]);
    }
  }

  /** Fills the model list, keeping the choice where it still exists. */
  setModels(models) {
    const select = this.#form.elements.model;
    const chosen = select.value;
    select.replaceChildren(...models.map(({ name }) => new Option(name, name)));
    if (models.some(({ name }) => name === chosen)) select.value = chosen;
  }

  /** No reply can be longer than the model's context. */
  setContextLength(tokens) {
    this.#form.elements.max_tokens.max = tokens;
  }

  #afterReset() {
    for (const name of NUMBERS) this.#mirror(this.#form.elements[name]);
    this.dispatchEvent(new Event("change"));
  }

  /** A slider and the number beside it show the same value. */
  #mirror(field) {
    const twin = this.#form.querySelector(`[data-twin="${field.name || field.dataset.twin}"]`);
    if (!twin) return;
    if (field === twin) this.#form.elements[field.dataset.twin].value = field.value;
    else twin.value = field.value;
  }
}

function keepInBounds(field) {
  if (field.value === "" && !field.required) return;
  const value = Number.isNaN(field.valueAsNumber) ? Number(field.defaultValue) : field.valueAsNumber;
  field.value = Math.min(Number(field.max || Infinity), Math.max(Number(field.min || -Infinity), value));
}

/** A chat request body from settings and the messages so far. What is not set is left out. */
export function buildRequest(settings, messages) {
  const { model, system, stop } = settings;
  const said = messages.filter(({ content }) => content).map(({ role, content }) => ({ role, content }));
  const request = { model, messages: system ? [{ role: "system", content: system }, ...said] : said };
  for (const name of NUMBERS) if (settings[name] !== null) request[name] = settings[name];
  if (stop.length) request.stop = stop;
  return request;
}
