// What is typed reaches the store in small groups, not letter by letter, and before anything else that is written.

import { attempt } from "./dom.js";
import { difference, merged, stretches } from "./merge.js";

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
    clearTimeout(timer); // of what was dropped
    waiting.add(run);
    timer = setTimeout(run, GROUP_MS);
  };
}

/** Hands over all that was typed. */
export function flush() {
  for (const run of [...waiting]) run();
}

/** Hands over nothing of what waits: the store would refuse it. */
export function drop() {
  waiting.clear();
}

export const isWaiting = () => waiting.size > 0;

/** Makes one edit of a text. */
export function write(store, text, [at, gone, added]) {
  if (gone === 0 && added === "") return;
  store.batch(() => {
    if (gone > 0) text.delete(at, gone);
    if (added) text.insert(at, added);
  });
}

/** Writes something, after what was typed before it, and shows why it failed. */
export function change(work) {
  flush();
  return attempt(work);
}

/** Keeps a text area and a shared text alike, with the caret where its user put it; one that is `readOnly` follows.
 *  `handedOver` hears how the text reads whenever the two have met. Gives a function that ends it, and one for the text as it
 *  was last handed over and as it stands in the area. */
export function bindText(store, area, text, handedOver) {
  /** What the two had in common when they last met. */
  let base = text.current;
  let composing = false;
  let meeting = false;
  area.value = base;

  const meet = () => {
    if (meeting) return; // the text tells of what is written here
    if (area.readOnly) {
      base = text.current;
      return show(area, base);
    }
    // Letters that are still being put together belong to the keyboard.
    if (composing && document.visibilityState === "visible") return later();
    meeting = true;
    try {
      const [mine, theirs] = [area.value, text.current];
      const wanted = merged(base, mine, theirs);
      write(store, text, difference(theirs, wanted));
      base = wanted;
      handedOver(wanted);
      // While another tab takes over, a text may take a moment to read as it was written.
      if (text.current === wanted) show(area, wanted);
      else later();
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
  const end = () => {
    composing = false;
    flush();
    stop();
    area.removeEventListener("input", later);
    area.removeEventListener("compositionstart", compose);
    area.removeEventListener("compositionend", compose);
  };
  return [end, () => [base, area.value]];
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
