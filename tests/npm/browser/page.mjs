import { open, schema, t } from "/sync/dist/index.js";

export const app = schema({ note: { title: t.string(), likes: t.counter(), body: t.text(), tags: t.set(t.string()) } });

/** Opens the store that all tabs of a test share, as `store` and `notes` of the page. */
export async function begin(options = {}) {
  const store = (globalThis.store = await open({ name: "shared", schema: app, ...options }));
  globalThis.notes = store.collection("note");
  globalThis.all = globalThis.notes.all({ orderBy: "title" });
  // A page shows what it reads, so it watches.
  globalThis.all.subscribe(() => {});
}
