// The dialog that shows the page's request as a program. Its tabs and its copy button are the site's.

import { highlight } from "./highlight.js";
import { SNIPPETS } from "./snippets.js";

const KEY = "YOUR_API_KEY";

/** Opens `dialog` with `request`, a chat request body, in every language. */
export function showCode(dialog, request) {
  for (const code of dialog.querySelectorAll("code[data-snippet]")) {
    const { write, language } = SNIPPETS[code.dataset.snippet];
    code.innerHTML = highlight(write({ base: `${location.origin}/v1`, key: KEY, request }), language);
  }
  dialog.showModal();
}
