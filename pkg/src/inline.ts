import type { OpenOptions, PassphraseChange, Schema, Store, StoreName } from "./contract.js";
import { changeSeal, isSealed } from "./passphrase.js";
import { openStore } from "./store.js";
import { WASM } from "./wasm-inline.js";

export type * from "./contract.js";
export { SyncError } from "./errors.js";
export { schema, t } from "./schema.js";

/** Opens a store. The wasm is part of this module: there is no file to serve and nothing to configure. */
export function open<S extends Schema>(options: OpenOptions<S>): Promise<Store<S>> {
  return openStore(options, inlined);
}

/** Whether a passphrase seals the store of that name in this browser. */
export function hasPassphrase(options: StoreName): Promise<boolean> {
  return isSealed(options, inlined);
}

/** Sets, changes or removes a store's passphrase. */
export function changePassphrase(options: PassphraseChange): Promise<void> {
  return changeSeal(options, inlined);
}

function inlined(): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(WASM), char => char.charCodeAt(0));
}
