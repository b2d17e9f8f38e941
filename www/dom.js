// Small helpers for the page.

export const $ = (id) => document.getElementById(id);

/** An element with properties and children; strings become text, never markup. */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) node[name] = value;
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

/** Says what went wrong, until something else did or `null` clears it. */
export function problem(error) {
  const box = $("problem");
  box.hidden = error === null;
  if (error === null) return;
  const code = error?.code ? ` (${error.code})` : "";
  box.textContent = `${error?.message ?? error}${code}`;
}

/** Runs something that may fail, and shows why it did. */
export async function attempt(work) {
  try {
    const result = await work();
    problem(null);
    return result;
  } catch (error) {
    problem(error);
  }
}

let toastEnds;
/** A short message with one thing to do about it. */
export function toast(text, action, run) {
  const box = $("toast");
  box.querySelector("span").textContent = text;
  const button = box.querySelector("button");
  button.textContent = action;
  button.onclick = () => { box.hidden = true; run(); };
  box.hidden = false;
  clearTimeout(toastEnds);
  toastEnds = setTimeout(() => { box.hidden = true; }, 10_000);
}

/** "1 note", "3 notes". */
export const count = (n, one, many = `${one}s`) => `${n.toLocaleString()} ${n === 1 ? one : many}`;

export function bytes(n) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  const step = n < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(n) / 3));
  return `${(n / 1000 ** step).toFixed(step === 0 || n >= 100 * 1000 ** step ? 0 : 1)} ${units[step]}`;
}
