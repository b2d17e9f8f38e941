// Small helpers for the page.

import { errorWords } from "./words.js";

export const $ = (id) => document.getElementById(id);

/** An element with properties and children; strings become text, never markup. */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "dataset") Object.assign(node.dataset, value);
    else if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

const SVG = "http://www.w3.org/2000/svg";
export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Says what went wrong, until something else did or `null` clears it. An open dialog hides the rest of the page: then
 *  it is said there. */
export function problem(error) {
  const box = $("problem");
  box.hidden = error === null;
  if (error === null) return;
  placeProblem();
  $("problem-words").textContent = errorWords(error);
}

function placeProblem() {
  const dialog = document.querySelector("dialog[open]");
  if (dialog) dialog.prepend($("problem"));
  else document.querySelector("main").before($("problem"));
}
document.addEventListener("close", placeProblem, true);
$("problem-gone").onclick = () => problem(null);

/** Runs something that may fail, and shows why it did. What goes well in the background says nothing of what did not. */
export async function attempt(work, { background = false } = {}) {
  try {
    const result = await work();
    if (!background) problem(null);
    return result;
  } catch (error) {
    problem(error);
  }
}

/** Copies a text, or selects where it is shown; says what it did. */
export async function copy(text, from, what) {
  try {
    await navigator.clipboard.writeText(text);
    return `${what} is copied.`;
  } catch {
    if (from.select) from.select();
    else getSelection()?.selectAllChildren(from);
    return "The browser does not allow copying; it is selected instead, so that you can copy it.";
  }
}

let toastEnds;
/** A short message, and what can be done about it, if anything. */
export function toast(text, action, run) {
  const box = $("toast");
  box.querySelector("span").textContent = text;
  const button = box.querySelector("button");
  button.hidden = !action;
  button.textContent = action ?? "";
  button.onclick = () => { box.hidden = true; run(); };
  box.hidden = false;
  clearTimeout(toastEnds);
  toastEnds = setTimeout(() => { box.hidden = true; }, 10_000);
}

/** Calls `run` at most so often, with the last word. */
export function calmly(run, ms) {
  let timer;
  return () => {
    timer ??= setTimeout(() => {
      timer = undefined;
      run();
    }, ms);
  };
}
