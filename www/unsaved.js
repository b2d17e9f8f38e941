// A page that is closed has no time to save: what was typed a moment before lies in localStorage until the next visit.

import { difference, merged } from "./merge.js";
import { flush, isWaiting, write } from "./typing.js";

const PREFIX = "notes-board unsaved ";

/** The note that was edited last: `{ id, text, sides(), title(), titles }`. `sides` are the text as it was last handed over
 *  and as it stands in its field, `titles` all that the note had meanwhile. */
let edited;
/** The name under which something is kept now. */
let kept;

export function editing(note) {
  edited = note;
}

/** Keeps what was typed and is not saved; at once, as the page may be about to go. */
export function keepUnsaved(store) {
  if (!edited || (!isWaiting() && store.status.current.unsaved === 0)) return;
  const { id, text, sides, title, titles } = edited;
  kept = `${PREFIX}${id} ${performance.timeOrigin}`;
  const put = (what) => localStorage.setItem(kept, JSON.stringify({ id, title: title(), titles, ...what }));
  try {
    // Firefox ends code that is running when one goes elsewhere, at any moment. So the letters themselves come first.
    const [base, mine] = sides();
    put({ base, mine });
    flush();
    // Better is the text's update: to take that in twice changes nothing, whatever of it was saved after all.
    put({ update: btoa(Array.from(text.yjs.encode(), (byte) => String.fromCharCode(byte)).join("")) });
  } catch {
    flush(); // no room, or the browser allows nothing: most of it is being saved all the same
  }
}

/** All is saved: nothing has to be kept. */
export function forgetKept() {
  if (!kept || isWaiting()) return;
  localStorage.removeItem(kept);
  kept = undefined;
}

/** Takes in what an earlier page has kept. */
export async function restoreUnsaved(store) {
  const notes = store.collection("note");
  for (const key of Object.keys(localStorage).filter((name) => name.startsWith(PREFIX) && name !== kept).sort()) {
    const { id, update, base, mine, title, titles } = JSON.parse(localStorage.getItem(key));
    const note = await notes.get(id);
    if (note) {
      if (update) note.text.yjs.apply(Uint8Array.from(atob(update), (char) => char.charCodeAt(0)));
      else takeIn(store, note.text, base, mine);
      // Another title than those that this one followed on is somebody's newer one.
      if (note.title !== title && titles.includes(note.title)) notes.update(id, { title });
      await store.settled();
    }
    localStorage.removeItem(key);
  }
}

function takeIn(store, text, base, mine) {
  const theirs = text.current;
  if (theirs !== mine) write(store, text, difference(theirs, merged(base, mine, theirs)));
}
