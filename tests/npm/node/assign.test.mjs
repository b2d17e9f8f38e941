// Counters and sets are assigned by the difference to what is there.
import assert from "node:assert/strict";
import test from "node:test";
import { open, schema, t } from "@privstack/sync";
import { openStore } from "./support.mjs";

/** What the note reads as once all is written. */
async function reads(notes, id) {
  const { likes, tags } = await notes.get(id);
  return [likes, [...tags].sort().join("")];
}

const set = letters => new Set(letters);

test("within a batch the last assignment counts, whatever the batch has written before", async test => {
  const store = await openStore(test);
  const notes = store.collection("note");
  const batch = run => store.batch(tx => run(tx.collection("note")));
  const { id } = notes.create({ likes: 1, tags: set("ab") });

  batch(notes => {
    notes.update(id, { likes: 5, tags: set("bc") });
    notes.update(id, { likes: 7, tags: set("cd") });
  });
  assert.deepEqual(await reads(notes, id), [7, "cd"]);

  batch(notes => {
    notes.increment(id, "likes", 3);
    notes.insert(id, "tags", "e");
    notes.remove(id, "tags", "c");
    notes.update(id, { likes: 8, tags: set("cf") });
    notes.increment(id, "likes");
  });
  assert.deepEqual(await reads(notes, id), [9, "cf"]);

  batch(notes => {
    notes.update(id, { likes: undefined, tags: undefined });
    notes.update(id, { likes: 4, tags: set("f") });
  });
  assert.deepEqual(await reads(notes, id), [4, "f"]);

  batch(notes => {
    notes.delete(id);
    notes.restore(id);
    notes.update(id, { likes: 6, tags: set("g") });
  });
  assert.deepEqual(await reads(notes, id), [6, "g"]);

  notes.delete(id);
  batch(notes => {
    notes.restore(id);
    notes.update(id, { likes: 7, tags: set("h") });
  });
  assert.deepEqual(await reads(notes, id), [7, "h"]);
});

test("what a batch has created can be assigned in it, watched or not", async test => {
  for (const watched of [false, true]) {
    const store = await openStore(test, { name: `watched ${watched}` });
    const notes = store.collection("note");
    if (watched) test.after(notes.all().subscribe(() => {}));
    const ids = store.batch(tx => {
      const notes = tx.collection("note");
      const given = notes.create({ likes: 5, tags: set("ab") });
      const empty = notes.create({});
      for (const { id } of [given, empty]) notes.update(id, { likes: 7, tags: set("bc") });
      return [given.id, empty.id];
    });
    for (const id of ids) assert.deepEqual(await reads(notes, id), [7, "bc"]);
  }
});

test("a batch that throws, and one around it, leave nothing behind that counts", async test => {
  const store = await openStore(test);
  const notes = store.collection("note");
  const { id } = notes.create({ likes: 1 });
  assert.throws(() => store.batch(tx => {
    tx.collection("note").update(id, { likes: 5 });
    throw new RangeError("no");
  }), RangeError);
  notes.update(id, { likes: 3 });
  assert.deepEqual(await reads(notes, id), [3, ""]);
  store.batch(() => {
    notes.update(id, { likes: 4 });
    store.batch(() => notes.update(id, { likes: 9 }));
    notes.update(id, { likes: 6 });
  });
  assert.deepEqual(await reads(notes, id), [6, ""]);
});

test("a counter and a set with a default read as they were assigned", async test => {
  const store = await open({
    name: "defaults", storage: "memory", schema: schema({ note: { likes: t.counter().default(5), tags: t.set(t.string()).default(set("a")) } }),
  });
  test.after(() => store.close());
  const notes = store.collection("note");
  const { id } = notes.create({});
  assert.deepEqual(await reads(notes, id), [5, "a"]);
  notes.update(id, { likes: 7, tags: set("ab") });
  assert.deepEqual(await reads(notes, id), [7, "ab"]);
  notes.update(id, { likes: 0 });
  notes.increment(id, "likes");
  assert.deepEqual(await reads(notes, id), [1, "ab"]);
  assert.equal(notes.create({ likes: 0 }).likes, 0);
  const made = notes.create({ likes: 5, tags: set("a") });
  notes.increment(made.id, "likes");
  assert.deepEqual(await reads(notes, made.id), [6, "a"]);
  notes.update(made.id, { likes: 4, tags: set("b") });
  assert.deepEqual(await reads(notes, made.id), [4, "b"]);
});
