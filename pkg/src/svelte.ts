import { readable, type Readable } from "svelte/store";
import type { OpenOptions, Schema, Store } from "./contract.js";
import { openStore } from "./store.js";
import { wasmUrl } from "./wasm-url.js";

/** A store that opens when a component first reads it and closes after the last: `undefined` until it is open. */
export function syncStore<S extends Schema>(options: OpenOptions<S>): Readable<Store<S> | undefined> {
  return readable<Store<S> | undefined>(undefined, set => {
    let wanted = true;
    const opening = openStore(options, wasmUrl);
    opening.then(store => {
      if (wanted) set(store);
    });
    return () => {
      wanted = false;
      opening.then(store => store.close(), () => {});
    };
  });
}
