// Colours the code in snippets. Copying still gives the plain text.
import hljs from "../vendor/highlight/core.min.js";
import bash from "../vendor/highlight/languages/bash.min.js";
import javascript from "../vendor/highlight/languages/javascript.min.js";
import python from "../vendor/highlight/languages/python.min.js";

hljs.registerLanguage("bash", bash);
hljs.registerLanguage("javascript", javascript);
hljs.registerLanguage("python", python);
for (const code of document.querySelectorAll(".code [class^=language-]")) hljs.highlightElement(code);
