import type { OpenOptions, Schema, Store } from "./contract.js";
import { openStore } from "./store.js";
import { wasmUrl } from "./wasm-url.js";

export type * from "./contract.js";
export { SyncError } from "./errors.js";
export { schema, t } from "./schema.js";

/** Opens a store. Everything that it needs is loaded here; call nothing before. */
export function open<S extends Schema>(options: OpenOptions<S>): Promise<Store<S>> {
  return openStore(options, wasmUrl);
}
