// The exported class of the wasm module, as the facade uses it. What it is opened with and what it answers is described by
// the module itself.
export type { ChangeInfo, NotSyncedInfo, Options as CoreOptions, PeerInfo, StatusInfo } from "../wasm/privstack_sync.js";

/** A wish, by its name: `["set", field, value]`, `["type", field, at, text]` … */
export type Edit = readonly [name: string, ...rest: unknown[]];
export type EntityChange = readonly [id: string, edits: readonly Edit[]];

/** What an entity shows: `null` where there is none, `undefined` where that is not known (yet). */
export type Raw =
  | { readonly deleted: boolean; readonly registers: Record<string, unknown>; readonly counters: Record<string, number>; readonly sets: Record<string, readonly unknown[]> }
  | null | undefined;

/** Letters of an entity's id. */
const ID_LETTERS = 36;
/** The ids of entities, one after the other. */
export type Ids = string;

/** The letters of each byte. */
const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));
const ID_BYTES = 16;

/** The texts of ids that came as bytes, one after the other. */
export function idTexts(bytes: Uint8Array): string[] {
  const ids: string[] = [];
  for (let at = 0; at < bytes.length; at += ID_BYTES) {
    const letters = Array.from(bytes.subarray(at, at + ID_BYTES), byte => HEX[byte]).join("");
    ids.push(letters.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-"));
  }
  return ids;
}

/** Takes ids apart. */
export function idsOf(text: Ids): string[] {
  const ids: string[] = [];
  for (let at = 0; at < text.length; at += ID_LETTERS) ids.push(text.slice(at, at + ID_LETTERS));
  return ids;
}

export interface TextChange { readonly at: number; readonly gone: number; readonly new: string }

export type News =
  | { kind: "welcome" | "saved" | "pairing" | "members" | "audited" | "paused" }
  | { kind: "entities" | "fetched"; type: string; ids: Ids }
  | { kind: "ready"; type: string }
  | { kind: "leave"; error: unknown }
  | { kind: "text"; type: string; id: string; field: string; changes: TextChange[]; update?: Uint8Array }
  | { kind: "answer"; number: number; value: unknown; error?: unknown }
  | { kind: "failed"; type: string; ids: Ids; error: unknown }
  | { kind: "notice"; type: "peerConnected" | "peerDisconnected" | "syncCompleted" | "pairingCompleted" | "syncError"; peer: string; error?: unknown }
  | { kind: "changed"; peer: string; ids: Uint8Array };

export interface Core {
  device(): string | undefined;
  leads(): boolean;
  unsaved(): number;
  /** Entities with writes that are not saved. */
  unsavedOf(type: string): Ids;
  newId(): string;
  write(type: string, changes: readonly EntityChange[]): void;
  read(type: string, id: string): Raw;
  /** A JSON array, an item for each id: 0 unknown, 1 none, 2 to be read by `read`,
   *  else `[number of the field, value, …]`. `fields` is JSON: `[[kind, name], …]`. */
  readMany(type: string, fields: string, ids: Ids): string;
  ids(type: string): Ids;
  watch(type: string): void;
  fetch(type: string, id: string): void;
  text(type: string, id: string, field: string): string;
  watchText(type: string, id: string, field: string): void;
  unwatchText(type: string, id: string, field: string): void;
  textClient(): number;
  encodeText(type: string, id: string, field: string, since?: Uint8Array): Uint8Array;
  ask(name: string, argument?: unknown): number;
  forget(number: number): void;
  setRelays(relays: readonly string[]): void;
  settle(): number;
  close(): Promise<void>;
}
