// What the benchmark does in a page with the package. The facade's inner modules let a store in IndexedDB use the network
// in memory, which `testPeers` has for stores in memory only.
import { schema, t } from "/sync/dist/index.js";
import { load } from "/sync/dist/load.js";
import { openStore } from "/sync/dist/store.js";
import init from "/sync/wasm/privstack_sync.js";

/** Events a commit. */
const BATCH = 1_000;
const FIELDS = Array.from({ length: 10 }, (_, at) => `f${at}`);
export const app = schema({ note: Object.fromEntries(FIELDS.map(name => [name, t.string().optional()])) });

/** 25 characters, different everywhere. */
const value = (entity, pass) => `${entity * 10 + pass} `.padEnd(25, "abcdefghijklmnopqrstuvwxyz");

let network;
/** The stores of this page by name. */
const stores = (globalThis.stores = {});

/** Opens a store in this page; `local` puts it on the network in memory. */
export async function begin(name, { storage, local, relays } = {}) {
  if (local) network ??= new (await load()).TestNetwork();
  const options = { name, schema: app, deviceName: name, relays };
  if (storage) options.storage = storage;
  return (stores[name] = await openStore(options, local ? network.share() : undefined));
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

export async function join(name, from) {
  await stores[name].join(await stores[from].invite(stores[name].device.id));
  await stores[name].settled();
}

/** Everything of `from` comes to `name` over the network in memory; resolves once it is saved there. */
export async function first(name, from) {
  const [store, source] = [stores[name], stores[from]];
  const start = performance.now();
  const done = heard(store, "syncCompleted");
  await store.dial(`/memory/${source.device.id}/p2p/${source.device.id}`);
  await done;
  await store.settled();
  return performance.now() - start;
}

async function heard(store, type) {
  for await (const event of store.events()) if (event.type === type) return event;
}

export const digests = (...names) => Promise.all(names.map(name => stores[name].digest()));

export async function memory() {
  const wasm = (await init()).memory.buffer.byteLength;
  return { wasm };
}
