import { useCallback, useEffect, useState, useSyncExternalStore } from "react";
import type { Live, OpenOptions, Schema, Store } from "./contract.js";
import { openStore } from "./store.js";
import { wasmUrl } from "./wasm-url.js";

/** A live value in a component: it renders anew when the value changes. */
export function useLive<T>(live: Live<T>): T {
  const subscribe = useCallback((changed: () => void) => live.subscribe(changed), [live]);
  const read = useCallback(() => live.current, [live]);
  return useSyncExternalStore(subscribe, read, read);
}

interface Opened { users: number; store: Promise<Store<any>> }
const stores = new Map<string, Opened>();

/**
 * Opens a store for as long as some component uses it; components that name the same store share it.
 * `store` is undefined until it is open; `error` says why it is not.
 */
export function useStore<S extends Schema>(options: OpenOptions<S>): { store: Store<S> | undefined; error: unknown } {
  const [state, setState] = useState<{ store: Store<S> | undefined; error: unknown }>({ store: undefined, error: undefined });
  const { name } = options;
  useEffect(() => {
    let here = true;
    const opened = stores.get(name) ?? { users: 0, store: openStore(options, wasmUrl) };
    stores.set(name, opened);
    opened.users += 1;
    opened.store.then(
      store => here && setState({ store, error: undefined }),
      error => {
        if (stores.get(name) === opened) stores.delete(name);
        if (here) setState({ store: undefined, error });
      },
    );
    return () => {
      here = false;
      opened.users -= 1;
      // Strict mode takes components out and puts them back at once: that does not close the store.
      setTimeout(() => {
        if (opened.users > 0) return;
        if (stores.get(name) === opened) stores.delete(name);
        opened.store.then(store => store.close(), () => {});
      });
    };
    // The other options count when the store is opened.
  }, [name]);
  return state;
}
