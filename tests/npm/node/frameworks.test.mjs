import assert from "node:assert/strict";
import test from "node:test";
import { createElement } from "react";
import { act, create } from "react-test-renderer";
import { get } from "svelte/store";
import { useLive, useStore } from "@privstack/sync/react";
import { syncStore } from "@privstack/sync/svelte";
import { app, openStore } from "./support.mjs";

globalThis.IS_REACT_ACT_ENVIRONMENT = true;

test("a React component renders a live query, and again when its rows change", async test => {
  const store = await openStore(test);
  const notes = store.collection("note");
  const query = notes.all({ orderBy: "title" });
  let renders = 0;
  function Notes() {
    renders += 1;
    return useLive(query).map(note => note.title).join();
  }
  let tree;
  await act(async () => {
    tree = create(createElement(Notes));
  });
  await act(async () => {
    notes.create({ title: "b" });
    notes.create({ title: "a" });
  });
  assert.equal(tree.toJSON(), "a,b");
  const before = renders;
  await act(async () => store.settled());
  assert.equal(renders, before, "saving changes nothing that it shows");
  await act(async () => tree.unmount());
});

test("useStore opens a store that components share, and closes it after the last", async () => {
  let opened;
  function Page() {
    const { store } = useStore({ name: "react", schema: app, storage: "memory" });
    opened ??= store;
    assert.ok(!store || store === opened);
    return store ? "open" : "opening";
  }
  let tree;
  await act(async () => {
    tree = create([createElement(Page, { key: 1 }), createElement(Page, { key: 2 })]);
  });
  for (let turn = 0; turn < 1_000 && !opened; turn += 1) await act(() => new Promise(resolve => setImmediate(resolve)));
  assert.deepEqual(tree.toJSON(), ["open", "open"]);
  await act(async () => tree.unmount());
  for (let turn = 0; turn < 1_000; turn += 1) {
    try {
      await opened.digest();
    } catch (error) {
      assert.equal(error.code, "closed");
      return;
    }
    await new Promise(resolve => setImmediate(resolve));
  }
  assert.fail("it is still open");
});

test("a live value is a Svelte store as it is, and a store opens with its first reader", async test => {
  const store = await openStore(test);
  const notes = store.collection("note");
  notes.create({ title: "a" });
  assert.equal(get(notes.all())[0].title, "a");
  const opening = syncStore({ name: "svelte", schema: app, storage: "memory" });
  await new Promise(resolve => {
    let stop = () => {};
    stop = opening.subscribe(store => {
      if (store) queueMicrotask(() => resolve(stop()));
    });
  });
});

/** What a Svelte store holds once it holds something. */
function holds(readable) {
  return new Promise(resolve => {
    let stop = () => {};
    stop = readable.subscribe(value => {
      if (value !== undefined) queueMicrotask(() => resolve((stop(), value)));
    });
  });
}

test("why a Svelte store does not open is a Svelte store too, and a new reader tries again", async () => {
  const options = { name: "svelte that fails", schema: app, storage: "memory", cloud: { kind: "webdav" } };
  const opened = syncStore(options);
  for (let time = 0; time < 2; time += 1) {
    const values = [];
    const stop = opened.subscribe(store => values.push(store));
    assert.equal(get(opened.error), undefined);
    assert.equal((await holds(opened.error)).code, "unsupported");
    assert.deepEqual(values, [undefined]);
    stop();
  }
  delete options.cloud;
  assert.ok((await holds(opened)).device.id);
  assert.equal(get(opened.error), undefined, "what failed before is no error now");
  const values = [];
  opened.subscribe(store => values.push(store))();
  assert.deepEqual(values, [undefined], "the one that is closed is gone");
});

test("why a Svelte store does not open is reported where nobody reads its error", async test => {
  const reported = new Promise(resolve => (globalThis.reportError = resolve));
  test.after(() => delete globalThis.reportError);
  const stop = syncStore({ name: "", schema: app }).subscribe(() => {});
  assert.equal((await reported).code, "invalid");
  stop();
});
