// A page that is closed has no time to save: what was typed a moment before lies in localStorage until the next visit.
// Taking in a text's update twice changes nothing, so it does not matter what of it was saved after all.

const PREFIX = "notes-board unsaved ";

/** The note that was edited last: its id, its text, its title now, and all titles that it had meanwhile. */
let edited;

export function editing(note) {
  edited = note;
}

/** Keeps what was typed and is not saved; at once, as the page goes. */
export function keepUnsaved(store) {
  if (!edited || store.status.current.unsaved === 0) return;
  const { id, text, title, titles } = edited;
  try {
    const update = Array.from(text.yjs.encode(), (byte) => String.fromCharCode(byte)).join("");
    localStorage.setItem(`${PREFIX}${id} ${Date.now()}`, JSON.stringify({ id, update: btoa(update), title, titles }));
  } catch {
    // No room, or the browser allows nothing: most of it is being saved all the same.
  }
}

/** Takes in what an earlier page has kept. */
export async function restoreUnsaved(store) {
  const notes = store.collection("note");
  for (const key of Object.keys(localStorage).filter((name) => name.startsWith(PREFIX)).sort()) {
    const { id, update, title, titles } = JSON.parse(localStorage.getItem(key));
    const note = await notes.get(id);
    if (note) {
      note.text.yjs.apply(Uint8Array.from(atob(update), (char) => char.charCodeAt(0)));
      // Another title than those that this one followed on is somebody's newer one.
      if (note.title !== title && titles.includes(note.title)) notes.update(id, { title });
      await store.settled();
    }
    localStorage.removeItem(key);
  }
}
