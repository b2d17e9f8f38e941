// What is typed reaches the store in small groups, not letter by letter, and before anything else that is written.

import { attempt } from "./dom.js";

/** How long a letter may wait for others. */
const GROUP_MS = 150;

/** What hands over something that waits. */
const waiting = new Set();

/** Calls `handOver` a moment after the first call of what this gives, or as soon as something else is written. */
export function grouped(handOver) {
  let timer;
  const run = () => {
    clearTimeout(timer);
    if (waiting.delete(run)) attempt(handOver);
  };
  return () => {
    if (waiting.has(run)) return;
    waiting.add(run);
    timer = setTimeout(run, GROUP_MS);
  };
}

/** Hands over all that was typed. */
export function flush() {
  for (const run of [...waiting]) run();
}

/** Writes something, after what was typed before it, and shows why it failed. */
export function change(work) {
  flush();
  return attempt(work);
}

// A page that goes out of sight may never come back.
document.addEventListener("visibilitychange", () => { if (document.visibilityState === "hidden") flush(); });

/** Keeps a text area and a shared text alike, with the caret where its user put it. Gives a function that ends it. */
export function bindText(area, text) {
  /** What the two had in common when they last met. */
  let base = text.current;
  let composing = false;
  let meeting = false;
  area.value = base;

  const meet = () => {
    if (meeting) return; // the text tells of what is written here
    // Letters that are still being put together belong to the keyboard.
    if (composing && document.visibilityState === "visible") return later();
    meeting = true;
    try {
      const [mine, theirs] = [area.value, text.current];
      const [at, gone, added] = difference(theirs, merged(base, mine, theirs));
      if (gone > 0) text.delete(at, gone);
      if (added) text.insert(at, added);
      base = text.current;
      show(area, base);
    } finally {
      meeting = false;
    }
  };
  const later = grouped(meet);
  const compose = (event) => { composing = event.type === "compositionstart"; };
  area.addEventListener("input", later);
  area.addEventListener("compositionstart", compose);
  area.addEventListener("compositionend", compose);
  const stop = text.subscribe(() => attempt(meet, { background: true }));
  return () => {
    composing = false;
    flush();
    stop();
    area.removeEventListener("input", later);
    area.removeEventListener("compositionstart", compose);
    area.removeEventListener("compositionend", compose);
  };
}

/** Puts a text into the area; the caret stays between the letters where it stands. */
function show(area, now) {
  if (area.value === now) return;
  const changes = stretches(area.value, now);
  const shift = (caret) => {
    let by = 0;
    for (const [at, gone, added] of changes) {
      if (caret <= at) break;
      if (caret < at + gone) return at + by + added.length;
      by += added.length - gone;
    }
    return caret + by;
  };
  const { selectionStart, selectionEnd, selectionDirection, scrollTop } = area;
  area.value = now;
  area.setSelectionRange(shift(selectionStart), shift(selectionEnd), selectionDirection);
  area.scrollTop = scrollTop;
}

/** What `base` reads like with what two sides have made of it. Typed at the same place, `mine` comes first. */
export function merged(base, mine, theirs) {
  if (theirs === base) return mine;
  if (mine === base) return theirs;
  const changes = [mine, theirs].flatMap((side) => stretches(base, side)).sort((a, b) => a[0] - b[0]);
  let text = "";
  let taken = 0;
  for (const [at, gone, added] of changes) {
    if (at > taken) text += base.slice(taken, at);
    text += added;
    taken = Math.max(taken, at + gone);
  }
  return text + base.slice(taken);
}

/** The stretches in which two strings differ, in order: where, how much goes, what comes. */
export function stretches(before, after, from = 0) {
  const [at, gone, added] = difference(before, after);
  if (gone === 0 && added === "") return [];
  const removed = before.slice(at, at + gone);
  const [left, right, length] = common(removed, added);
  if (length === 0) return [[from + at, gone, added]];
  return [
    ...stretches(removed.slice(0, left), added.slice(0, right), from + at),
    ...stretches(removed.slice(left + length), added.slice(right + length), from + at + left + length),
  ];
}

/** Shorter ones stay the same by chance. */
const MIN_COMMON = 3;
/** Longer ones are compared as a whole. */
const MAX_COMPARED = 1_000_000;

/** The longest text that two strings share: where in each, and how long. */
function common(one, other) {
  let best = [0, 0, 0];
  if (one.length * other.length > MAX_COMPARED) return best;
  let above = new Uint32Array(other.length + 1);
  for (let i = 0; i < one.length; i += 1) {
    const row = new Uint32Array(other.length + 1);
    for (let j = 0; j < other.length; j += 1) {
      if (one[i] !== other[j]) continue;
      row[j + 1] = above[j] + 1;
      if (row[j + 1] > best[2]) best = [i + 1 - row[j + 1], j + 1 - row[j + 1], row[j + 1]];
    }
    above = row;
  }
  let [left, right, length] = best;
  if (length > 0 && isLow(one, left)) [left, right, length] = [left + 1, right + 1, length - 1];
  if (length > 0 && isHigh(one, left + length - 1)) length -= 1;
  return length < MIN_COMMON ? [0, 0, 0] : [left, right, length];
}

/** The one stretch in which two strings differ: where, how much goes, what comes. Never within a surrogate pair. */
export function difference(before, after) {
  const shorter = Math.min(before.length, after.length);
  let start = 0;
  while (start < shorter && before[start] === after[start]) start += 1;
  if (start > 0 && isHigh(before, start - 1)) start -= 1;
  let end = 0;
  while (end < shorter - start && before.at(-1 - end) === after.at(-1 - end)) end += 1;
  if (end > 0 && isLow(before, before.length - end)) end -= 1;
  return [start, before.length - start - end, after.slice(start, after.length - end)];
}

const isHigh = (text, at) => (text.charCodeAt(at) & 0xfc00) === 0xd800;
const isLow = (text, at) => (text.charCodeAt(at) & 0xfc00) === 0xdc00;
