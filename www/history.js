// What the timeline knows of edits: who made them, what they had seen, and which side won a field.

/** Reads the newest changes of all notes. A change is one commit's part in one note. */
export async function readChanges(notes, rows, limit) {
  const parts = await Promise.all(rows.map(async (note) =>
    (await notes.history(note.id)).map((change) => ({
      ...change, note: note.id, title: note.title || "Untitled",
      own: Object.entries(change.clock).filter(([log]) => log.startsWith(`${change.by}/`)),
    }))));
  return parts.flat().sort((a, b) => a.at - b.at).slice(-limit);
}

/** Whether the author of `later` had seen `earlier`: its clock has an entry for one of that device's logs that is as
 *  high as the one that `earlier` stands at. */
function hadSeen(later, earlier) {
  return earlier.own.every(([log, seq]) => (later.clock[log] ?? 0) >= seq);
}

/** For each field of a change: the changes made to it without knowledge of each other, and who won. */
export function contests(change, changes) {
  const others = changes.filter((other) =>
    other.note === change.note && other.by !== change.by && !hadSeen(change, other) && !hadSeen(other, change));
  return change.fields.flatMap((field) => {
    const rivals = others.filter((other) => other.fields.includes(field));
    if (rivals.length === 0) return [];
    const winner = [change, ...rivals].reduce((best, one) =>
      (one.at > best.at || (+one.at === +best.at && one.by > best.by) ? one : best));
    return [{ field, rivals, winner }];
  });
}

/** Puts together what one device did without a pause: items `{ at, by }` in order of time become lists of them, in the
 *  order in which they began. */
export function bursts(items, pause) {
  const lists = [];
  const last = new Map();
  for (const item of items) {
    const list = last.get(item.by);
    if (list && item.at - list.at(-1).at <= pause) {
      list.push(item);
    } else {
      last.set(item.by, [item]);
      lists.push(last.get(item.by));
    }
  }
  return lists;
}
