// What the benchmark does in a page with the package. The facade's inner modules let a store in IndexedDB use the network
// in memory, which `testPeers` has for stores in memory only.
import { schema, t } from "../node_modules/@privstack/sync/dist/index.js";
import { load } from "../node_modules/@privstack/sync/dist/load.js";
import { openStore } from "../node_modules/@privstack/sync/dist/store.js";
import { wasmUrl } from "../node_modules/@privstack/sync/dist/wasm-url.js";
import { BATCH, FIELDS, timed, value } from "./data.mjs";
import init from "../node_modules/@privstack/sync/wasm/privstack_sync.js";

export const app = schema({ note: Object.fromEntries(FIELDS.map(name => [name, t.string().optional()])) });

let network;
/** The stores of this page by name. */
const stores = (globalThis.stores = {});

/** Opens a store in this page; `local` puts it on the network in memory. */
export async function begin(name, { storage, local, relays } = {}) {
  if (local) network ??= new (await load(wasmUrl)).TestNetwork();
  const options = { name, schema: app, deviceName: name, relays };
  if (storage) options.storage = storage;
  stores[name] = await openStore(options, wasmUrl, local ? network.share() : undefined);
}

/** Ten sets on each of so many entities, each of another field, field by field. */
export async function fill(name, entities) {
  const store = stores[name];
  const notes = store.collection("note");
  const ids = [];
  for (let pass = 0; pass < FIELDS.length; pass += 1) {
    for (let from = 0; from < entities; from += BATCH) {
      store.batch(() => {
        for (let entity = from; entity < Math.min(entities, from + BATCH); entity += 1) {
          if (pass === 0) ids.push(notes.create({ f0: value(entity, 0) }).id);
          else notes.update(ids[entity], { [FIELDS[pass]]: value(entity, pass) });
        }
      });
      await store.settled();
    }
  }
}

/** The same sets, all of an entity at once: quicker to write. */
export async function fillAtOnce(name, entities) {
  const store = stores[name];
  const notes = store.collection("note");
  for (let from = 0; from < entities; from += BATCH / 10) {
    store.batch(() => {
      for (let entity = from; entity < Math.min(entities, from + BATCH / 10); entity += 1) {
        notes.create(Object.fromEntries(FIELDS.map((field, pass) => [field, value(entity, pass)])));
      }
    });
    await store.settled();
  }
}

/** It stays away from the network until its first sync is measured: the invite tells where the other one is. */
export async function join(name, from) {
  stores[name].pause();
  await stores[name].join(await stores[from].invite(stores[name].device.id));
  await stores[name].settled();
}

/** Everything of `from` comes to `name` over the network in memory; resolves once it is saved there. */
export async function first(name, from) {
  const [store, source] = [stores[name], stores[from]];
  const start = performance.now();
  const done = heard(store, "syncCompleted");
  store.resume();
  await store.dial(`/memory/${source.device.id}/p2p/${source.device.id}`);
  await done;
  await store.settled();
  return performance.now() - start;
}

async function heard(store, type) {
  for await (const event of store.events()) if (event.type === type) return event;
}

export const digests = (...names) => Promise.all(names.map(name => stores[name].digest()));

/** A list of all entities by a field, as an app shows it. */
export async function watch(name) {
  stores[name].collection("note").all({ orderBy: "f0" }).subscribe(rows => (shown = rows));
}
let shown = [];

/** How many rows the list shows. */
export const rows = () => shown.length;

/** Milliseconds from the call to all rows of a first live query, and what it says of them. */
export async function query(name) {
  const start = performance.now();
  for await (const rows of stores[name].collection("note").all()) return { took: performance.now() - start, rows: rows.length };
}

/** Milliseconds of syncs in which there is nothing to do: each the mean of ten, as some clocks tell whole ones only. */
export async function nothing(name, count) {
  const took = [];
  for (let at = 0; at < count; at += 1) {
    const start = performance.now();
    for (let one = 0; one < 10; one += 1) {
      const { sent, received } = await stores[name].syncNow();
      if (sent + received > 0) throw new Error(`${sent} sent and ${received} received by a sync with nothing to do`);
    }
    took.push((performance.now() - start) / 10);
  }
  return took;
}

/** Milliseconds of single writes until they are on disk, on an idle page. */
export function writes(name, count) {
  const notes = stores[name].collection("note");
  return timed(count, async at => {
    notes.create({ f0: value(at, 0) });
    await stores[name].settled();
  });
}

/** Answers each edit of `f0` of an entity by the same in `f1`. Resolves once the entity is here. */
export async function answer(name, id) {
  const notes = stores[name].collection("note");
  const all = notes.all();
  for await (const rows of all) if (rows.some(row => row.id === id)) break;
  all.subscribe(rows => {
    const row = rows.find(row => row.id === id);
    if (row && row.f0 !== row.f1) notes.update(id, { f1: row.f0 });
  });
}

export const make = name => stores[name].collection("note").create({ f0: "start", f1: "start" }).id;

/** Milliseconds of round trips: an edit here, seen and answered there, the answer seen here. */
export async function echoes(name, id, count) {
  const notes = stores[name].collection("note");
  const all = notes.all();
  let seen = () => {};
  let wanted;
  const stop = all.subscribe(rows => {
    if (rows.find(row => row.id === id)?.f1 === wanted) seen();
  });
  const took = await timed(count, async at => {
    const answered = new Promise(resolve => (seen = resolve));
    wanted = value(at, 0);
    notes.update(id, { f0: wanted });
    await answered;
  });
  stop();
  return took;
}

export const device = name => stores[name].device.id;
export const invite = (name, id) => stores[name].invite(id);
/** Takes the invite and what the vault holds; milliseconds until all is saved here. */
export async function accept(name, invite) {
  const start = performance.now();
  const done = heard(stores[name], "syncCompleted");
  await stores[name].join(invite);
  await done;
  await stores[name].settled();
  return performance.now() - start;
}
export const settled = (name, level) => stores[name].settled(level);
export const close = name => stores[name].close();

/** The wasm's linear memory, in bytes. It never shrinks, so it is the most that was needed. */
export const memory = async () => (await init()).memory.buffer.byteLength;
