import type { CollectionOf } from "./collection.js";
import { idsOf, type Edit, type Raw } from "./core.js";
import type { Engine } from "./engine.js";
import { call, invalid } from "./errors.js";

// A copy of what a page shows, for when the storage has failed and there is no vault to export: JSON, which people can
// read. It has no signatures and no history; taken in, it is written anew.

const VERSION = 1;
/** What every copy starts with. */
const START = `{"privstackCopy":${VERSION},`;
/** Stands for bytes, which JSON has not. */
const BYTES = "privstack:bytes";
/** Entities of one commit. */
const BATCH = 200;

interface Copied {
  readonly unsaved?: true;
  readonly deleted?: true;
  readonly registers: Record<string, unknown>;
  readonly counters: Record<string, number>;
  readonly sets: Record<string, readonly unknown[]>;
  readonly texts: Record<string, string>;
}

type Entities = Record<string, Record<string, Copied>>;

/** What the collections show, saved or not. */
export function copyOf(engine: Engine, collections: ReadonlyMap<string, CollectionOf>): Blob {
  const types: Entities = {};
  for (const [type, collection] of collections) {
    const unsaved = new Set(idsOf(engine.core.unsavedOf(type)));
    const entities: Record<string, Copied> = (types[type] = {});
    for (const id of new Set([...idsOf(engine.core.ids(type)), ...unsaved])) {
      const raw = call(() => engine.core.read(type, id));
      if (!raw || (raw.deleted && !unsaved.has(id))) continue;
      const texts = collection.texts.map(field => [field, call(() => engine.core.text(type, id, field))] as const);
      entities[id] = {
        ...(unsaved.has(id) ? { unsaved: true } : {}), ...(raw.deleted ? { deleted: true } : {}),
        registers: raw.registers, counters: raw.counters, sets: raw.sets, texts: Object.fromEntries(texts.filter(([, text]) => text !== "")),
      };
    }
  }
  const json = JSON.stringify({ entities: types }, (_, value) =>
    value instanceof Uint8Array ? { [BYTES]: btoa(Array.from(value, byte => String.fromCharCode(byte)).join("")) } : value);
  return new Blob([START, json.slice(1)], { type: "application/json" });
}

export function isCopy(bytes: Uint8Array): boolean {
  return new TextDecoder().decode(bytes.subarray(0, START.length)) === START;
}

/**
 * Writes what is in a copy and not in the store. Of an entity that is there, what was saved when the copy was made stays
 * as it is; what was not saved then is written over it.
 */
export async function takeCopy(engine: Engine, collections: ReadonlyMap<string, CollectionOf>, bytes: Uint8Array): Promise<void> {
  const types = parse(bytes);
  for (const type of Object.keys(types)) {
    if (!collections.has(type)) throw invalid(`the copy has entities of the type \`${type}\`, which the schema has not; nothing of it was taken`);
  }
  for (const [type, entities] of Object.entries(types)) {
    const collection = collections.get(type) as CollectionOf;
    const all = Object.entries(entities);
    for (let from = 0; from < all.length; from += BATCH) {
      const some = all.slice(from, from + BATCH);
      await Promise.all(some.map(([id]) => collection.get(id)));
      engine.batch(() => {
        for (const [id, copied] of some) engine.write(type, id, edits(engine, type, id, copied));
      });
      await engine.saved();
    }
  }
}

function parse(bytes: Uint8Array): Entities {
  try {
    const copy = JSON.parse(new TextDecoder().decode(bytes), (_, value) =>
      typeof value?.[BYTES] === "string" ? Uint8Array.from(atob(value[BYTES]), letter => letter.charCodeAt(0)) : value);
    const kinds = ["registers", "counters", "sets", "texts"];
    const whole = Object.values(copy.entities as Entities).every(entities =>
      Object.values(entities).every(copied => kinds.every(kind => copied[kind as keyof Copied] instanceof Object)));
    if (whole) return copy.entities;
  } catch {
    // As below.
  }
  throw invalid("the copy is damaged or cut off; nothing of it was taken");
}

function edits(engine: Engine, type: string, id: string, copied: Copied): Edit[] {
  const raw: Raw = call(() => engine.core.read(type, id));
  if (raw && (raw.deleted || !copied.unsaved)) return [];
  if (copied.deleted) return raw ? [["delete"]] : [];
  const edits: Edit[] = raw ? [] : [["create"]];
  for (const [field, value] of Object.entries(copied.registers)) {
    if (JSON.stringify(raw?.registers[field]) !== JSON.stringify(value)) edits.push(["set", field, value]);
  }
  for (const [field, value] of Object.entries(copied.counters)) {
    const by = value - (raw?.counters[field] ?? 0);
    if (by !== 0) edits.push(["add", field, by]);
  }
  for (const [field, items] of Object.entries(copied.sets)) {
    const known = new Set(raw?.sets[field] ?? []);
    for (const item of items) if (!known.has(item)) edits.push(["insert", field, item]);
  }
  for (const [field, text] of Object.entries(copied.texts)) {
    if ((raw ? call(() => engine.core.text(type, id, field)) : "") !== text) edits.push(["retype", field, text]);
  }
  return edits;
}
