import assert from "node:assert/strict";
import test from "node:test";
import { open, schema, SyncError, t } from "@privstack/sync";
import { app, openStore, thrown, until } from "./support.mjs";

test("a store opens in five lines and shows what is written at once", async () => {
  const app = schema({ note: { title: t.string() } });
  await using(await open({ name: "notes", schema: app, storage: "memory" }), async store => {
    const notes = store.collection("note");
    const note = notes.create({ title: "Hello" });
    assert.equal((await notes.get(note.id))?.title, "Hello");
  });
  async function using(store, run) {
    try {
      await run(store);
    } finally {
      await store[Symbol.asyncDispose]();
    }
  }
});

test("values of every sort come back as they were written", async test => {
  const store = await openStore(test);
  const notes = store.collection("note");
  const fields = {
    title: "ü", done: true, tags: new Set(["a", "b"]), due: new Date(1_800_000_000_123), extra: { a: [1, null, { b: "c" }] },
    blob: new Uint8Array([0, 255]), size: -1.5, likes: 3,
  };
  const { id } = notes.create(fields);
  await store.settled();
  const note = await notes.get(id);
  for (const [name, value] of Object.entries(fields)) assert.deepEqual(note[name], value, name);
  assert.equal(notes.create({ title: "x" }).done, false, "the default");
  assert.deepEqual([...notes.create({}).tags], []);
  assert.equal(notes.create({}).due, undefined);
});

test("an update shows at once, undefined clears, and an unchanged entity stays the same object", async test => {
  const store = await openStore(test);
  const notes = store.collection("note");
  const note = notes.create({ title: "a", size: 1 });
  const one = notes.one(note.id);
  assert.equal(one.current, note);
  notes.update(note.id, { title: "b", size: undefined });
  assert.equal(one.current.title, "b");
  assert.equal(one.current.size, undefined);
  assert.equal(one.current.body, note.body, "its text is the same handle");
  const now = one.current;
  await store.settled();
  assert.equal(one.current, now);
});

test("counters and sets are assigned by their difference", async test => {
  const store = await openStore(test);
  const notes = store.collection("note");
  const { id } = notes.create({ likes: 2, tags: new Set(["a", "b"]) });
  notes.increment(id, "likes");
  notes.increment(id, "likes", 4);
  notes.update(id, { likes: 10, tags: new Set(["b", "c"]) });
  notes.insert(id, "tags", "d");
  notes.remove(id, "tags", "b");
  await store.settled();
  const note = await notes.get(id);
  assert.equal(note.likes, 10);
  assert.deepEqual([...note.tags].sort(), ["c", "d"]);
});

test("what is deleted is gone, refuses writes, and comes back with all its fields", async test => {
  const store = await openStore(test);
  const notes = store.collection("note");
  const { id } = notes.create({ title: "a" });
  const all = notes.all();
  assert.equal(all.current.length, 1);
  notes.delete(id);
  assert.equal(all.current.length, 0);
  assert.equal(await notes.get(id), undefined);
  const error = await thrown(() => notes.update(id, { title: "b" }));
  assert.ok(error instanceof SyncError);
  assert.equal(error.code, "deleted");
  await store.settled();
  notes.restore(id);
  assert.equal((await notes.get(id)).title, "a");
});

test("a query picks, sorts and cuts, and tells only when its rows change", async test => {
  const store = await openStore(test);
  const notes = store.collection("note");
  for (const title of ["c", "a", "d", "b"]) notes.create({ title, done: title === "d" });
  const open = notes.all({ where: { done: false }, orderBy: "-title", limit: 2 });
  const told = [];
  const stop = open.subscribe(rows => told.push(rows.map(row => row.title).join("")));
  const d = notes.all({ where: note => note.title === "d" }).current[0];
  notes.update(d.id, { size: 1 }); // not among them
  assert.deepEqual(told, ["cb"]);
  const before = open.current;
  notes.update(d.id, { done: false });
  assert.deepEqual(told, ["cb", "dc"]);
  assert.notEqual(open.current, before);
  stop();
  notes.create({ title: "z" });
  assert.deepEqual(told, ["cb", "dc"]);
  assert.deepEqual(open.current.map(row => row.title), ["z", "d"], "current even without a listener");
  assert.deepEqual(notes.all({ orderBy: "title", offset: 3 }).current.map(row => row.title), ["d", "z"]);
});

test("a live value is an async iterable that waits for its first value", async test => {
  const store = await openStore(test);
  const notes = store.collection("note");
  notes.create({ title: "a" });
  const seen = [];
  for await (const rows of notes.all()) {
    seen.push(rows.length);
    if (seen.length === 2) break;
    queueMicrotask(() => notes.create({ title: "b" }));
  }
  assert.deepEqual(seen, [1, 2]);
});

test("a batch is one commit a type, and nothing of it is written when it throws", async test => {
  const store = await openStore(test);
  const notes = store.collection("note");
  const [first, second] = store.batch(tx => {
    const notes = tx.collection("note");
    const board = tx.collection("board").create({ name: "b" });
    const note = notes.create({ title: "a", on: board.id });
    notes.update(note.id, { done: true });
    note.body.insert(0, "text");
    return [note, notes.create({ title: "b" })];
  });
  assert.equal(notes.all().current.length, 2);
  const now = notes.one(first.id).current;
  assert.deepEqual([now.title, now.done, now.body.current], ["a", true, "text"]);
  await store.settled();
  const [one, other] = [await notes.history(first.id), await notes.history(second.id)];
  assert.deepEqual([one.length, Object.values(one[0].clock)], [1, Object.values(other[0].clock)], "the same commit");
  await assert.rejects(async () => store.batch(tx => {
    tx.collection("note").create({ title: "c" });
    throw new RangeError("no");
  }), RangeError);
  assert.equal(notes.all().current.length, 2);
  const error = await thrown(() => store.batch(async () => {}));
  assert.equal(error.code, "invalid");
});

test("what does not fit the schema is refused by name", async test => {
  const store = await openStore(test);
  const notes = store.collection("note");
  for (const [patch, name] of [
    [{ title: 1 }, "title"], [{ due: new Date(NaN) }, "due"], [{ tags: ["a"] }, "tags"], [{ tags: new Set([1]) }, "tags"],
    [{ nope: 1 }, "nope"], [{ body: "x" }, "body"], [{ likes: 1.5 }, ""],
  ]) {
    const error = await thrown(() => notes.create(patch));
    assert.ok(error instanceof SyncError && error.code === "invalid" && error.message.includes(name), `${name}: ${error}`);
  }
  assert.equal((await thrown(() => store.collection("nope"))).code, "invalid");
  assert.equal((await thrown(() => open({ schema: app }))).code, "invalid");
  assert.throws(() => schema({ note: { id: t.string() } }), { code: "invalid" });
});

test("a value of another sort reads as the default, is counted, and is not overwritten by reading", async test => {
  const other = schema({ note: { title: t.number(), tags: t.set(t.number()) } });
  const store = await openStore(test, { schema: other });
  const { id } = store.collection("note").create({ title: 5, tags: new Set([1]) });
  const backup = await store.export();
  const reader = await openStore(test);
  await reader.import(backup);
  const note = await reader.collection("note").get(id);
  assert.deepEqual([note.title, [...note.tags]], ["", []]);
  const status = await until(reader.status, status => status.misfits > 0);
  assert.equal(status.misfits, 2);
  assert.equal(await reader.digest(), await store.digest());
});

test("a backup is whole or refused, carries no key, and makes a device that must still be let in", async test => {
  const store = await openStore(test);
  const { id } = store.collection("note").create({ title: "a" });
  const backup = await store.export();
  const copy = await openStore(test);
  const bytes = new Uint8Array(await backup.arrayBuffer());
  for (const broken of [bytes.slice(0, -1), bytes.slice(4), bytes.with(bytes.length - 50, bytes.at(-50) ^ 1)]) {
    assert.equal((await thrown(() => copy.import(new Blob([broken])))).code, "invalid");
  }
  await copy.import(backup);
  assert.equal((await copy.collection("note").get(id)).title, "a");
  assert.notEqual(copy.device.id, store.device.id);
  copy.collection("note").create({ title: "b" });
  assert.equal((await thrown(() => copy.settled())).code, "not_trusted");
});

test("words are shown until they are saved, and then never again", async test => {
  const store = await openStore(test);
  assert.equal(await store.recoveryWords(), null, "no vault yet");
  store.collection("note").create({});
  await store.settled();
  assert.equal((await store.recoveryWords()).length, 24);
  await store.recoverySaved();
  assert.equal(await store.recoveryWords(), null);
});

test("events tell of changes, also of those before", async test => {
  const store = await openStore(test);
  const notes = store.collection("note");
  const note = notes.create({ title: "one" });
  notes.update(note.id, { title: "two" });
  await store.settled();
  for await (const event of store.events({ history: 10 })) {
    if (event.type !== "entitiesUpdated") continue;
    assert.deepEqual([event.ids, event.origin], [[note.id], "local"]);
    assert.deepEqual(JSON.parse(JSON.stringify(event)), { type: "entitiesUpdated", ids: [note.id], origin: "local" });
    assert.deepEqual(structuredClone(event), { ...event });
    break;
  }
  const none = [];
  for await (const event of store.events({ signal: AbortSignal.abort() })) none.push(event);
  assert.deepEqual(none, []);
});

test("what later issues bring answers unsupported, and nothing else does", async test => {
  const store = await openStore(test);
  const codes = await Promise.all([
    () => store.settled("cloud"),
    () => store.cloud.connect({}), async () => store.cloud.setToken("x"),
    () => open({ name: "x", schema: app, iceServers: [] }), () => open({ name: "x", schema: app, cloud: {} }),
    () => open({ name: "x", schema: app }), // no IndexedDB in Node
  ].map(async run => (await thrown(run)).code));
  assert.deepEqual(new Set(codes), new Set(["unsupported"]));
  assert.equal((await thrown(() => store.syncNow())).code, "unreachable", "there is nobody");
  await Promise.all([store.explain(), store.digest(), store.persisted(), store.settled()]);
});

test("a closed store says so, and a call that was given up says aborted", async test => {
  const store = await openStore(test);
  store.collection("note").create({});
  const never = store.settled("peer", { signal: AbortSignal.timeout(5) });
  assert.equal((await thrown(() => never)).code, "aborted");
  await store.close();
  await store.close();
  for (const run of [() => store.collection("note").create({}), () => store.digest(), () => store.pause()]) {
    assert.equal((await thrown(run)).code, "closed");
  }
});

test("a listener that throws stops nobody else", async test => {
  const store = await openStore(test);
  const notes = store.collection("note");
  const reported = [];
  globalThis.reportError = error => reported.push(error.message);
  test.after(() => delete globalThis.reportError);
  let told = 0;
  notes.all().subscribe(() => {
    throw new RangeError("mine");
  });
  notes.all().subscribe(() => (told += 1));
  notes.create({});
  assert.deepEqual([told, reported], [2, ["mine", "mine"]]);
});

test("a watched list stays in the order of a fresh one, whatever comes, changes and goes", async test => {
  const store = await openStore(test);
  const notes = store.collection("note");
  let seed = 7;
  const random = below => (seed = (seed * 48_271) % 2_147_483_647) % below;
  const some = { title: () => "abcde"[random(5)], size: () => (random(4) === 0 ? undefined : random(5)), done: () => random(2) === 0, due: () => (random(3) === 0 ? undefined : new Date(random(9))) };
  const orders = ["title", "-title", "size", "-size", "done", "-due"];
  const watched = orders.map(orderBy => notes.all({ orderBy }));
  for (const live of watched) live.subscribe(() => {});
  const known = [];
  for (let round = 0; round < 60; round += 1) {
    store.batch(() => {
      for (let made = random(round % 10 === 0 ? 60 : 3); made > 0; made -= 1) known.push(notes.create({ title: some.title(), size: some.size(), due: some.due() }).id);
    });
    for (let changed = random(4); changed > 0; changed -= 1) {
      const field = Object.keys(some)[random(4)];
      notes.update(known[random(known.length)], { [field]: some[field]() });
    }
    if (known.length > 9 && random(2) === 0) notes.delete(known.splice(random(known.length), 1)[0]);
    orders.forEach((orderBy, at) => {
      assert.deepEqual(watched[at].current.map(note => note.id), notes.all({ orderBy }).current.map(note => note.id), `${orderBy}, round ${round}`);
    });
  }
  assert.equal(watched[0].current.length, known.length);
  const titles = watched[0].current.map(note => note.title);
  assert.deepEqual(titles, [...titles].sort());
});

test("many changes at once are in a list when it is read, and every listener is told of them", async test => {
  const store = await openStore(test);
  const notes = store.collection("note");
  const list = notes.all({ orderBy: "title" });
  const told = [0, 0];
  const end = new Promise(resolve => list.subscribe(rows => (told[0] = rows.length) === 150 && resolve()));
  const ids = [];
  for (let batch = 0; batch < 3; batch += 1) {
    store.batch(() => {
      for (let at = 0; at < 50; at += 1) ids.push(notes.create({ title: `${batch}/${at}` }).id);
    });
    assert.equal(list.current.length, (batch + 1) * 50, "at once");
    if (batch === 1) list.subscribe(rows => (told[1] = rows.length));
  }
  await end;
  assert.deepEqual(told, [150, 150]);
  store.batch(() => ids.forEach(id => notes.update(id, { done: true })));
  notes.update(ids[0], { title: "last, and at once" });
  assert.equal(list.current.at(-1).title, "last, and at once");
  assert.ok(list.current.every(note => note.done));
});

test("what goes through live values comes to its end when the store closes", async test => {
  const store = await openStore(test);
  const notes = store.collection("note");
  const note = notes.create({ title: "a" });
  const lives = { status: store.status, peers: store.peers, policy: store.policy, audit: store.policy.audit, all: notes.all(), one: notes.one(note.id), text: note.body };
  const started = [];
  const ends = Object.entries(lives).map(async ([name, live]) => {
    let [values, start] = [0, () => {}];
    started.push(new Promise(resolve => (start = resolve)));
    for await (const _ of live) {
      values += 1;
      start();
    }
    assert.ok(values > 0, name);
  });
  const never = (async () => {
    for await (const _ of notes.one("00000000-0000-4000-8000-000000000000")) await new Promise(resolve => setTimeout(resolve));
  })();
  await Promise.all(started);
  await store.close();
  await Promise.all([...ends, never]);
  for (const live of Object.values(lives)) for await (const _ of live) assert.fail("it is closed");
});
