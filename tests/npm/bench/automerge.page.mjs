// The same work with automerge-repo: one document with a map an entity, and two repos with a channel between them.
import { Automerge, NetworkAdapter, Repo, initializeWasm } from "@automerge/automerge-repo/slim";
import { IndexedDBStorageAdapter } from "@automerge/automerge-repo-storage-indexeddb";
import { BATCH, FIELDS, timed, value } from "./data.mjs";

const ready = initializeWasm(new URL("./automerge.wasm", import.meta.url));

/** One end of a channel in this page. */
class End extends NetworkAdapter {
  other;
  isReady = () => true;
  whenReady = () => Promise.resolve();
  connect(peerId, peerMetadata) {
    this.peerId = peerId;
    this.peerMetadata = peerMetadata;
  }
  join() {
    this.other.emit("peer-candidate", { peerId: this.peerId, peerMetadata: this.peerMetadata });
  }
  send(message) {
    // What crosses a network is a copy, and comes later.
    const sent = message.data ? { ...message, data: message.data.slice() } : message;
    queueMicrotask(() => this.other.emit("message", sent));
  }
  disconnect() {}
}

let repos = 0;
const repo = (network, database) => new Repo({
  network, storage: database ? new IndexedDBStorageAdapter(database) : undefined, peerId: `peer ${(repos += 1)}`,
  sharePolicy: async () => true, saveDebounceRate: 0,
});

let source;
let copy;

export async function fill(entities) {
  await ready;
  source = Automerge.from({ note: {} });
  for (let pass = 0; pass < FIELDS.length; pass += 1) {
    for (let from = 0; from < entities; from += BATCH) {
      source = Automerge.change(source, doc => {
        for (let entity = from; entity < Math.min(entities, from + BATCH); entity += 1) {
          if (pass === 0) doc.note[`note ${entity}`] = { f0: value(entity, 0) };
          else doc.note[`note ${entity}`][FIELDS[pass]] = value(entity, pass);
        }
      });
    }
  }
}

const shows = doc => JSON.stringify(Object.entries(doc.note).sort(([a], [b]) => (a < b ? -1 : 1)));
function same(one, other) {
  if (shows(one) !== shows(other)) throw new Error("the two sides do not show the same");
}

let ends;
let url;
let to;
/** A repo that has the document, and one that has nothing, not connected yet. */
export async function prepare(database) {
  const [here, there] = (ends = [new End(), new End()]);
  [here.other, there.other] = [there, here];
  const handle = repo([here]).import(Automerge.save(source));
  await handle.whenReady();
  url = handle.url;
  to = repo([there], database);
  // Both tell their network that they are there a moment later.
  await new Promise(resolve => setTimeout(resolve, 100));
}

/** The second repo finds the document in the first: milliseconds. With a database: until it is flushed into it. */
export async function first(database) {
  const start = performance.now();
  ends.forEach(end => end.join());
  const found = await to.find(url);
  await found.whenReady();
  const heads = Automerge.getHeads(source).join();
  while (Automerge.getHeads(found.doc()).join() !== heads) await new Promise(resolve => found.once("change", resolve));
  if (database) await to.flush();
  const took = performance.now() - start;
  copy = found.doc();
  return { took, url };
}

export const check = () => same(source, copy);

export async function writes(count) {
  await ready;
  const small = repo([], "small");
  const handle = small.create({ note: {} });
  await small.flush();
  return timed(count, async at => {
    handle.change(doc => {
      doc.note[`note ${at}`] = { f0: value(at, 0) };
    });
    await small.flush();
  });
}

/** Opens a database and shows all of it; how many entities that are. */
export async function open(database, url) {
  await ready;
  const handle = await repo([], database).find(url);
  await handle.whenReady();
  copy = handle.doc();
  return Object.entries(copy.note).map(([id, note]) => ({ id, ...note })).length;
}

/** Asserts, after a reload, that what was opened shows what was written. */
export async function checkOpened(entities) {
  await fill(entities);
  same(source, copy);
}
