import { open, schema, t } from "@privstack/sync";

try {
  const app = schema({ note: { title: t.string() } });
  const store = await open({ name: "bundled", schema: app, ...globalThis.testOptions?.() });
  const notes = store.collection("note");
  const note = notes.create({ title: "written" });
  await store.settled();
  document.title = `ok ${(await notes.get(note.id)).title}`;
} catch (error) {
  document.title = `failed: ${error.code} ${error.message}`;
}
