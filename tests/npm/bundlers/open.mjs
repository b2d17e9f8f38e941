import { open, schema, t } from "@privstack/sync";
import { says } from "./says.mjs";

says(async () => {
  const app = schema({ note: { title: t.string() } });
  const store = await open({ name: "bundled", schema: app, ...globalThis.testOptions?.() });
  const notes = store.collection("note");
  const note = notes.create({ title: "written" });
  await store.settled();
  return (await notes.get(note.id)).title;
});
