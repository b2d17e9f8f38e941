// The same work with Yjs: one document with a Y.Map an entity, as a database an entity would be 10,000 of them.
import { IndexeddbPersistence } from "y-indexeddb";
import * as Y from "yjs";
import { BATCH, FIELDS, timed, value } from "./data.mjs";

let source;
let copy;
let kept;

export function fill(entities) {
  source = new Y.Doc();
  const notes = source.getMap("note");
  for (let pass = 0; pass < FIELDS.length; pass += 1) {
    for (let from = 0; from < entities; from += BATCH) {
      source.transact(() => {
        for (let entity = from; entity < Math.min(entities, from + BATCH); entity += 1) {
          if (pass === 0) notes.set(`note ${entity}`, new Y.Map());
          notes.get(`note ${entity}`).set(FIELDS[pass], value(entity, pass));
        }
      });
    }
  }
}

const shows = doc => JSON.stringify(Object.entries(doc.getMap("note").toJSON()).sort(([a], [b]) => (a < b ? -1 : 1)));
function same(one, other) {
  if (shows(one) !== shows(other)) throw new Error("the two sides do not show the same");
}

/** A second document that has nothing, kept in a database if one is given. */
export async function prepare(database) {
  copy = new Y.Doc();
  if (!database) return;
  kept = new IndexeddbPersistence(database, copy);
  await kept.whenSynced;
}

/** State vector there, the update back: milliseconds. With a database: until the update is in it. */
export async function first(database) {
  const start = performance.now();
  Y.applyUpdate(copy, Y.encodeStateAsUpdate(source, Y.encodeStateVector(copy)));
  if (database) await written();
  return { took: performance.now() - start };
}

/** A transaction that comes after those that write ends after them. */
function written() {
  return new Promise((resolve, reject) => {
    const transaction = kept.db.transaction(["updates"], "readwrite");
    transaction.objectStore("updates").count();
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
  });
}

export const check = () => same(source, copy);

/** Milliseconds of exchanges of state vectors and of what they lack, both ways. */
export const nothing = count => timed(count, () => {
  Y.applyUpdate(copy, Y.encodeStateAsUpdate(source, Y.encodeStateVector(copy)));
  Y.applyUpdate(source, Y.encodeStateAsUpdate(copy, Y.encodeStateVector(source)));
});

export async function writes(count) {
  kept = new IndexeddbPersistence("small", (copy = new Y.Doc()));
  await kept.whenSynced;
  const notes = copy.getMap("note");
  return timed(count, async at => {
    copy.transact(() => notes.set(`note ${at}`, new Y.Map([["f0", value(at, 0)]])));
    await written();
  });
}

/** Opens a database and shows all of it; how many entities that are. */
export async function open(database) {
  copy = new Y.Doc();
  kept = new IndexeddbPersistence(database, copy);
  await kept.whenSynced;
  const rows = [];
  for (const [id, note] of copy.getMap("note")) rows.push({ id, ...note.toJSON() });
  return rows.length;
}

/** Asserts, after a reload, that what was opened shows what was written. */
export function checkOpened(entities) {
  fill(entities);
  same(source, copy);
}
