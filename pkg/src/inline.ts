import type { OpenOptions, Schema, Store } from "./contract.js";
import { openStore } from "./store.js";
import { WASM } from "./wasm-inline.js";

export type * from "./contract.js";
export { SyncError } from "./errors.js";
export { schema, t } from "./schema.js";

/** Opens a store. The wasm is part of this module: there is no file to serve and nothing to configure. */
export function open<S extends Schema>(options: OpenOptions<S>): Promise<Store<S>> {
  return openStore(options, () => Uint8Array.from(atob(WASM), char => char.charCodeAt(0)));
}
