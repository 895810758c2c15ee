// Colours for code, as class names: code.css says which colours.

import hljs from "../../vendor/highlight/highlight.min.js";

/** `code` as HTML with every character of it escaped, or "" where the language is not known. */
export function highlight(code, language) {
  if (!hljs.getLanguage(language)) return "";
  return hljs.highlight(code, { language, ignoreIllegals: true }).value;
}
