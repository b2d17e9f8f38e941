// A page that is closed has no time to save: what was typed a moment before lies in localStorage until the next visit; where
// a passphrase seals the notes, on this page only, and the browser asks before it closes that.

import { difference, merged } from "./merge.js";
import { $, toast } from "./dom.js";
import { mayWrite } from "./rights.js";
import { flush, isWaiting, write } from "./typing.js";

const PREFIX = "notes-board unsaved ";

/** What is kept on this page only. */
let here;

/** The note that was edited last: `{ id, text, sides(), title(), titles }`. `sides` are the text as it was last handed over
 *  and as it stands in its field, `titles` all that the note had meanwhile. While something is typed that is not saved,
 *  `mine` is the text with it, and `base` the text without. */
let edited;
/** The name under which something is kept now. */
let kept;
let leftOut = new Set();

/** How the store says that it takes nothing of this device. */
export const REFUSALS = ["policy_denied", "not_trusted"];
/** How long a page that has just been opened waits to hear what this device may do. */
const ROLE_MS = 2_000;

/** Keeps nothing in the browser from now on. */
export function keepHere() {
  here = new Map();
}

/** Whether this page alone has something that is not saved. */
export function isKeptHere(store) {
  return here !== undefined && (here.size > 0 || isWaiting() || store.status.current.unsaved > 0);
}

const put = (key, record) => here ? here.set(key, JSON.stringify(record)) : localStorage.setItem(key, JSON.stringify(record));
const get = (key) => JSON.parse(here?.get(key) ?? localStorage.getItem(key));
const remove = (key) => {
  here?.delete(key);
  localStorage.removeItem(key);
};

export function editing(note) {
  edited = note;
  showKept();
}

/** Something was typed into the note that is edited. */
export function typed() {
  if (!edited) return;
  const [base, mine] = edited.sides();
  if (edited.mine === undefined) edited.base = base;
  edited.mine = mine;
  edited.typedTitle = edited.title();
  edited.times = (edited.times ?? 0) + 1;
}

/** The title or the text was handed over to the store, and the text reads like this now. Once that is saved, only what was
 *  typed later, or still waits, has to be kept; where the store refuses it, all of it. */
export function handedOver(store, text) {
  const note = edited;
  if (!note || note.mine === undefined) return;
  const { times } = note;
  const isAll = !isWaiting();
  store.settled().then(() => {
    if (note.isRefused) return;
    note.base = text;
    if (isAll && note.times === times) note.mine = note.typedTitle = undefined;
  }, (error) => REFUSALS.includes(error.code) && keep(note));
}

/** Keeps what was typed last into the note that is edited, as the store takes nothing of this device any more. What is on
 *  its way is waited for: it may have come just in time. */
export async function keepRefused(store) {
  const note = edited;
  await store.settled().catch(() => {});
  keep(note);
}

function keep(note) {
  if (note && note.mine !== undefined && !note.isRefused) {
    const { id, base, mine, typedTitle, titles } = note;
    note.isRefused = true;
    if (mine !== base || typedTitle !== titles[0]) {
      const record = { id, title: typedTitle, titles, base, mine, isRefused: true };
      try {
        put(`${PREFIX}${id} ${performance.timeOrigin} refused`, record);
      } catch {
        toast("What you typed last is not saved, and this browser has no room to keep it.");
      }
    }
  }
  showKept();
}

/** Notes into which this device wrote what does not count: what the store took in the same moment as it refused the rest.
 *  Until that is put back, or its user lets it be, the rest is kept: it follows on it. */
export function setLeftOut(ids) {
  leftOut = new Set(ids);
  showKept();
}

/** Says whether something is kept that the notes do not have. */
function showKept() {
  const refused = mayWrite() && leftOut.size === 0 ? [] : keys().filter((key) => key.endsWith(" refused"));
  const where = here ? "on this page, so do not close it," : "in this browser";
  for (const node of document.querySelectorAll(".kept-where")) node.textContent = where;
  $("kept").hidden = refused.length === 0 || mayWrite();
  $("note-kept").hidden = !leftOut.has(edited?.id) && !refused.some((key) => key.includes(edited?.id));
}

const keys = () => [...Object.keys(localStorage), ...(here?.keys() ?? [])].filter((name) => name.startsWith(PREFIX) && name !== kept).sort();

/** Keeps what was typed and is not saved; at once, as the page may be about to go. */
export function keepUnsaved(store) {
  if (!edited || (!isWaiting() && store.status.current.unsaved === 0)) return;
  const { id, text, sides, title, titles } = edited;
  kept = `${PREFIX}${id} ${performance.timeOrigin}`;
  const record = (what) => put(kept, { id, title: title(), titles, ...what });
  try {
    // Firefox ends code that is running when one goes elsewhere, at any moment. So the letters themselves come first.
    const [base, mine] = sides();
    record({ base, mine });
    flush();
    // Better is the text's update: to take that in twice changes nothing, whatever of it was saved after all.
    record({ update: btoa(Array.from(text.yjs.encode(), (byte) => String.fromCharCode(byte)).join("")) });
  } catch {
    flush(); // no room, or the browser allows nothing: most of it is being saved all the same
  }
}

/** All is saved: nothing has to be kept. */
export function forgetKept() {
  if (!kept || isWaiting()) return;
  remove(kept);
  kept = undefined;
}

/** Takes in what was kept: by an earlier page, or as long as this device was not allowed to write. */
export async function restoreUnsaved(store) {
  if (keys().length > 0) await roleKnown(store);
  showKept();
  if (!mayWrite()) return;
  const notes = store.collection("note");
  for (const key of keys()) {
    const { id, update, base, mine, title, titles, isRefused } = get(key);
    if (isRefused && leftOut.has(id)) continue;
    let note = await notes.get(id);
    if (!note && isRefused) { // made by this device, and refused with what was typed into it; or deleted meanwhile
      note = notes.create({ title, place: Date.now() });
      write(store, note.text, [0, 0, mine]);
      await store.settled();
    } else if (note) {
      if (update) note.text.yjs.apply(Uint8Array.from(atob(update), (char) => char.charCodeAt(0)));
      else takeIn(store, note.text, base, mine);
      // Another title than those that this one followed on is somebody's newer one.
      if (note.title !== title && titles.includes(note.title)) notes.update(id, { title });
      await store.settled();
    }
    remove(key);
    if (isRefused) toast(`What you typed while this device could not write is in “${title || "Untitled"}” now.`);
  }
  if (edited?.isRefused) edited.isRefused = edited.mine = edited.typedTitle = undefined;
}

/** Resolves once it is known what this device may do, or there is no vault that says so. */
function roleKnown(store) {
  return new Promise((resolve) => {
    const timer = setTimeout(end, ROLE_MS);
    const stop = store.status.subscribe(({ role }) => role !== null && setTimeout(end));
    function end() {
      clearTimeout(timer);
      stop();
      resolve();
    }
  });
}

function takeIn(store, text, base, mine) {
  const theirs = text.current;
  if (theirs !== mine) write(store, text, difference(theirs, merged(base, mine, theirs)));
}
