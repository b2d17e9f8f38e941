import type { OpenOptions, PassphraseChange, Schema, Store, StoreName } from "./contract.js";
import { changeSeal, isSealed } from "./passphrase.js";
import { openStore } from "./store.js";
import { wasmUrl } from "./wasm-url.js";

export type * from "./contract.js";
export { SyncError } from "./errors.js";
export { schema, t } from "./schema.js";

/** Opens a store. Everything that it needs is loaded here; call nothing before. */
export function open<S extends Schema>(options: OpenOptions<S>): Promise<Store<S>> {
  return openStore(options, wasmUrl);
}

/** Whether a passphrase seals the store of that name in this browser. */
export function hasPassphrase(options: StoreName): Promise<boolean> {
  return isSealed(options, wasmUrl);
}

/** Sets, changes or removes a store's passphrase. */
export function changePassphrase(options: PassphraseChange): Promise<void> {
  return changeSeal(options, wasmUrl);
}
