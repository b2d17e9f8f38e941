import assert from "node:assert/strict";
import test from "node:test";
import * as Y from "yjs";
import { testPeers } from "@privstack/sync/testing";
import { app, openStore, thrown, until } from "./support.mjs";

test("a text is typed, erased, replaced and marked, and tells its deltas", async test => {
  const store = await openStore(test);
  const { body } = store.collection("note").create({});
  const deltas = [];
  const reading = (async () => {
    for await (const delta of body.deltas()) if (deltas.push(delta) === 9) break;
  })();
  body.insert(0, "Hello");
  body.insert(5, " 👋");
  body.delete(0, 1);
  body.replace("ello, 👋");
  body.mark([0, 4], "bold", true);
  assert.equal(body.current, "ello, 👋");
  body.insert(0, "!");
  await reading;
  assert.deepEqual(deltas.slice(0, 4), [{ retain: 0 }, { insert: "Hello" }, { retain: 5 }, { insert: " 👋" }]);
  assert.deepEqual(deltas.slice(4), [{ retain: 0 }, { delete: 1 }, { retain: 4 }, { insert: "," }, { retain: 0 }]);
  assert.equal((await thrown(() => body.insert(99, "x"))).code, "invalid");
  assert.equal((await thrown(() => body.insert(8, "x"))).code, "invalid", "inside of a character");
});

test("two devices type in one text, and an editor's Yjs document is bound to it", async test => {
  const peers = await testPeers(2, { schema: app });
  test.after(() => peers.close());
  const [one, other] = peers.stores.map(store => store.collection("note"));
  const note = one.create({ title: "a" });
  note.body.insert(0, "Hello world");
  const [{ body: theirs }] = await until(other.all(), rows => rows.length === 1);
  await until(theirs, text => text === "Hello world");

  const doc = new Y.Doc();
  Y.applyUpdate(doc, note.body.yjs.encode(), "store");
  doc.clientID = note.body.yjs.clientId;
  doc.on("update", (update, origin) => {
    if (origin !== "store") note.body.yjs.apply(update);
  });
  const stop = new AbortController();
  const bound = (async () => {
    for await (const update of note.body.yjs.updates({ signal: stop.signal })) Y.applyUpdate(doc, update, "store");
  })();
  const text = doc.getText("t");
  assert.equal(text.toString(), "Hello world");

  text.insert(5, ",");
  theirs.insert(11, "!");
  note.body.insert(0, ">");
  await until(theirs, text => text === ">Hello, world!");
  await until(note.body, text => text === ">Hello, world!");
  await until({ subscribe: run => (doc.on("update", () => run(text.toString())), run(text.toString()), () => {}) }, now => now === ">Hello, world!");
  text.delete(0, 1);
  await until(theirs, text => text === "Hello, world!");
  stop.abort();
  await bound;

  const stranger = new Y.Doc();
  stranger.getText("t").insert(0, "x");
  assert.equal((await thrown(() => note.body.yjs.apply(Y.encodeStateAsUpdate(stranger)))).code, "invalid");
  assert.equal((await thrown(() => note.body.yjs.apply(new Uint8Array([9, 9])))).code, "invalid");
  assert.equal(note.body.current, "Hello, world!");
});
