// What the timeline knows of edits: who made them, what they had seen, and which side won a field.

/** Reads all changes of all notes. A change is one commit's part in one note. */
export async function readChanges(notes, rows, limit) {
  const parts = await Promise.all(rows.map(async (note) =>
    (await notes.history(note.id)).map((change) => ({ ...change, note: note.id, title: note.title || "Untitled" }))));
  const changes = parts.flat().sort((a, b) => a.at - b.at);
  return changes.slice(-limit);
}

/** Whether the author of `later` had seen `earlier`: its clock has an entry for one of that device's logs that is as
 *  high as the one that `earlier` stands at. */
export function hadSeen(later, earlier) {
  return Object.entries(earlier.clock)
    .filter(([log]) => log.startsWith(`${earlier.by}/`))
    .every(([log, seq]) => (later.clock[log] ?? 0) >= seq);
}

/** For each field of a change: the changes made to it without knowledge of each other, and who won. */
export function contests(change, changes) {
  const others = changes.filter((other) => other !== change && other.note === change.note);
  return change.fields.flatMap((field) => {
    const rivals = others.filter((other) =>
      other.fields.includes(field) && other.by !== change.by && !hadSeen(change, other) && !hadSeen(other, change));
    if (rivals.length === 0) return [];
    const winner = [change, ...rivals].reduce((best, one) =>
      (one.at > best.at || (+one.at === +best.at && one.by > best.by) ? one : best));
    return [{ field, rivals, winner }];
  });
}
