// How a developer uses the package; it only has to compile.
import { open, schema, t } from "@privstack/sync";
const app = schema({
  note: { title: t.string(), done: t.boolean().default(false), tags: t.set(t.string()), body: t.text() },
  board: { name: t.string(), owner: t.ref("note") },
});
await using store = await open({ name: "notes", schema: app, relays: ["wss://relay.example"] });
const notes = store.collection("note");
const note = notes.create({ title: "Hello", tags: new Set(["a"]) });
notes.update(note.id, { done: true });
note.body.insert(0, "Hi");
// @ts-expect-error text is never assigned
notes.update(note.id, { body: "nope" });
// @ts-expect-error unknown field
notes.update(note.id, { nope: 1 });
// @ts-expect-error wrong type
notes.update(note.id, { done: "yes" });
const stop = notes.all({ where: { done: false }, orderBy: "-title" }).subscribe(rows => { const s: string | undefined = rows[0]?.title; void s });
for await (const rows of notes.all()) { rows.length; break }
await using offer = await store.pairing.offer({ ttl: 120 });
console.log(offer.code, offer.qr());
const s = await offer.session; await s.confirm();
for await (const e of store.events({ signal: AbortSignal.timeout(1) })) {
  switch (e.type) { case "entitiesUpdated": e.ids.length; break; case "syncError": e.error.code; break; default: e.peer }
}
store.batch(tx => { tx.collection("board").create({ name: "b", owner: note.id }) });
stop();
