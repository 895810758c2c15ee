// Markdown to safe DOM. What a model writes is an outsider's text: HTML in it stays text, and what
// markdown-it makes of the rest goes through an allow-list. Images would tell another site who reads.

import DOMPurify from "../../vendor/dompurify/purify.es.mjs";
import MarkdownIt from "../../vendor/markdown-it/browser/markdown-it.esm.min.mjs";
import { highlight } from "./highlight.js";

const SAFE = {
  ALLOWED_TAGS: [
    ..."p br hr h1 h2 h3 h4 h5 h6 ul ol li blockquote pre code span".split(" "),
    ..."em strong s a table thead tbody tr th td".split(" "),
  ],
  ALLOWED_ATTR: ["href", "title", "class", "start"],
  RETURN_DOM_FRAGMENT: true,
};

const markdown = new MarkdownIt({ html: false, linkify: true, breaks: true, highlight }).disable("image");
markdown.linkify.set({ fuzzyLink: false, fuzzyEmail: false });
for (const rule of ["th_open", "td_open"]) markdown.renderer.rules[rule] = openCell;

const codeTemplate = document.getElementById("code-block-template");

/** markdown-it aligns table cells with style attributes, which the page's CSP refuses. */
function openCell(tokens, index, options, _env, renderer) {
  const align = /text-align:(\w+)/.exec(tokens[index].attrGet("style") ?? "")?.[1];
  tokens[index].attrs = align ? [["class", `align-${align}`]] : null;
  return renderer.renderToken(tokens, index, options);
}

function toFragment(html) {
  const fragment = DOMPurify.sanitize(html, SAFE);
  for (const link of fragment.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
  }
  for (const pre of fragment.querySelectorAll("pre")) frameCode(pre);
  for (const table of fragment.querySelectorAll("table")) frameTable(table);
  return fragment;
}

/** Gives a code block its bar: the language's name and a copy button. */
function frameCode(pre) {
  const block = codeTemplate.content.cloneNode(true).firstElementChild;
  const [, language = ""] = /language-(\S+)/.exec(pre.querySelector("code").className) ?? [];
  block.querySelector("[data-language]").textContent = language;
  pre.tabIndex = 0; // a long line is scrolled with the keyboard too
  pre.replaceWith(block);
  block.append(pre);
}

function frameTable(table) {
  const frame = document.createElement("div");
  frame.className = "table-frame";
  frame.tabIndex = 0; // a wide table is scrolled with the keyboard too
  table.replaceWith(frame);
  frame.append(table);
}

export function renderMarkdown(source) {
  return toFragment(markdown.render(source));
}

/**
 * A reply that grows. Finished blocks are rendered once and left alone; only the block being
 * written is rendered again, at most once per frame on the screen. `finish` renders the whole once
 * more, for what only the end decides (a link's definition, say).
 */
export class StreamingMarkdown {
  #element;
  #pending = ""; // source after the last finished block
  #unfinished = []; // its nodes
  #frame = 0;
  #onRender;

  /** `onRender` is told of every render but the last. */
  constructor(element, onRender) {
    this.#element = element;
    this.#onRender = onRender;
  }

  append(text) {
    this.#pending += text;
    this.#frame ||= requestAnimationFrame(() => this.#render());
  }

  finish(source) {
    cancelAnimationFrame(this.#frame);
    this.#element.replaceChildren(renderMarkdown(source));
  }

  #render() {
    this.#frame = 0;
    for (const node of this.#unfinished) node.remove();
    const lines = this.#pending.split("\n");
    const start = lastBlockLine(this.#pending);
    if (start > 0) {
      this.#element.append(renderMarkdown(lines.slice(0, start).join("\n")));
      this.#pending = lines.slice(start).join("\n");
    }
    const rest = renderMarkdown(this.#pending);
    this.#unfinished = [...rest.childNodes];
    this.#element.append(rest);
    this.#onRender();
  }
}

/** The line on which the last top-level block starts; everything before it is finished. */
function lastBlockLine(source) {
  const starts = markdown.parse(source, {}).filter((token) => token.level === 0 && token.map && token.nesting >= 0);
  return starts.at(-1)?.map[0] ?? 0;
}
