// What every page has: theme switch, copy buttons, tabs, dialogs.
import "./copy.js";
import "./dialog.js";
import "./tabs.js";
import "./theme-switch.js";

if (document.querySelector(".code [class^=language-]")) import("./highlight.js");
