import { readable, writable, type Readable } from "svelte/store";
import type { OpenOptions, Schema, Store } from "./contract.js";
import { guarded } from "./live.js";
import { openStore } from "./store.js";
import { wasmUrl } from "./wasm-url.js";

/** A store for components: `undefined` until it is open. `error` holds why it does not open. */
export interface Opened<S extends Schema> extends Readable<Store<S> | undefined> {
  readonly error: Readable<unknown>;
}

/** A store that opens when a component first reads it and closes after the last. */
export function syncStore<S extends Schema>(options: OpenOptions<S>): Opened<S> {
  let isTold = false;
  const error = writable<unknown>(undefined, () => {
    isTold = true;
    return () => (isTold = false);
  });
  const opened = readable<Store<S> | undefined>(undefined, set => {
    let wanted = true;
    error.set(undefined);
    const opening = openStore(options, wasmUrl);
    opening.then(store => wanted && set(store), reason => {
      if (!wanted) return;
      const isHeard = isTold;
      error.set(reason);
      if (!isHeard) guarded(() => { throw reason; }); // nobody shows it
    });
    return () => {
      wanted = false;
      set(undefined);
      opening.then(store => store.close(), () => {});
    };
  });
  return { subscribe: opened.subscribe, error: { subscribe: error.subscribe } };
}
