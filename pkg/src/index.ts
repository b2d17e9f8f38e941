import type { OpenOptions, Schema, Store } from "./contract.js";
import { openStore } from "./store.js";
import { wasmFrom } from "./load.js";

export type * from "./contract.js";
export { SyncError } from "./errors.js";
export { schema, t } from "./schema.js";

wasmFrom(() => new URL("../wasm/privstack_sync_bg.wasm", import.meta.url));

/** Opens a store. Everything that it needs is loaded here; call nothing before. */
export function open<S extends Schema>(options: OpenOptions<S>): Promise<Store<S>> {
  return openStore(options);
}
