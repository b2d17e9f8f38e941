// What the timeline knows of edits: who made them, what they had seen, and which side won a field.

/** The histories of the notes that were there at some time since the page was opened. */
export class Histories {
  #notes;
  #changes = new Map(); // id -> its changes
  #titles = new Map(); // id -> as it was called last
  #stale = new Set();

  constructor(notes) {
    this.#notes = notes;
  }

  /** These notes are there. */
  see(rows) {
    for (const { id, title } of rows) {
      if (!this.#titles.has(id)) this.#stale.add(id);
      this.#titles.set(id, title || "Untitled");
    }
  }

  /** There is more of these. */
  changed(ids) {
    for (const id of ids) if (this.#titles.has(id)) this.#stale.add(id);
  }

  /** Reads what has changed; gives the newest changes of all, in their order. */
  async read(limit) {
    const ids = [...this.#stale];
    this.#stale.clear();
    try {
      await Promise.all(ids.map(async (id) => this.#changes.set(id, marked(id, await this.#notes.history(id)))));
    } catch (error) {
      this.changed(ids); // the next time
      throw error;
    }
    const all = [...this.#changes.values()].flat().sort((a, b) => a.at - b.at);
    return all.slice(-limit).map((change) => ({ ...change, title: this.#titles.get(change.note) }));
  }
}

/** A note's history. A change is one commit's part in the note: `made` says that it created it, brought it back, or deleted
 *  it; its `fields` are those that it wrote into a note that was there. */
function marked(note, history) {
  const changes = history.map((change, place) => ({
    ...change, note, place, own: Object.entries(change.clock).filter(([log]) => log.startsWith(`${change.by}/`)),
  }));
  const deletions = changes.filter(({ fields }) => fields.includes("-"));
  return changes.map((change) => {
    const fields = change.fields.filter((field) => field !== "+" && field !== "-");
    if (change.fields.includes("-")) return { ...change, fields, made: "deleted" };
    if (!change.fields.includes("+")) return change;
    const isBack = deletions.some((deletion) => hadSeen(change, deletion));
    return isBack ? { ...change, fields, made: "brought back" } : { ...change, fields: [], made: "created" };
  });
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
    // A note's history comes in the order that decides, whatever the clocks say.
    const winner = [change, ...rivals].reduce((best, one) => (one.place > best.place ? one : best));
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
