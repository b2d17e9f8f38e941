import type { OpenOptions, PeerId, Schema, Store } from "./contract.js";
import { load } from "./load.js";
import { openStore, type StoreOf } from "./store.js";
import { wasmUrl } from "./wasm-url.js";

/** Devices in one process, for tests of apps: each has a store in memory, and a network in memory lies between them. */
export interface TestPeers<S extends Schema> extends AsyncDisposable {
  /** The stores, all in the vault of the first, or of none if they were to be `apart`. */
  readonly stores: readonly Store<S>[];
  /** Cuts the way between two of them, by their places. */
  cut(one: number, other: number): void;
  /** Undoes `cut`, and connects the two again. */
  heal(one: number, other: number): Promise<void>;
  /** Resolves once every store shows the same. */
  converged(): Promise<void>;
  close(): Promise<void>;
}

/** Opens so many devices in one vault; `apart`: in none yet, for tests of pairing. */
export async function testPeers<S extends Schema>(
  count: number, options: Pick<OpenOptions<S>, "schema" | "policy" | "wasm"> & { apart?: boolean },
): Promise<TestPeers<S>> {
  const network = new (await load(options.wasm ?? wasmUrl)).TestNetwork();
  const stores: StoreOf<S>[] = [];
  for (let number = 0; number < count; number += 1) {
    const store = await openStore<S>(
      { ...options, name: `test ${number}`, deviceName: `device ${number}`, storage: "memory" }, wasmUrl, network.share(),
    );
    stores.push(store);
  }
  const first = stores[0];
  const connect = (from: StoreOf<S>, to: PeerId) => from.dial(`/memory/${to}/p2p/${to}`);
  for (const store of options.apart ? [] : stores.slice(1)) {
    if (!first) break;
    await store.join(await first.invite(store.device.id));
    await connect(store, first.device.id);
  }
  const at = (place: number) => {
    const store = stores[place];
    if (!store) throw new RangeError(`there is no device ${place}`);
    return store;
  };
  const close = async () => {
    await Promise.all(stores.map(store => store.close()));
  };
  return {
    stores,
    cut: (one, other) => network.cut(at(one).device.id, at(other).device.id),
    async heal(one, other) {
      network.heal(at(one).device.id, at(other).device.id);
      await connect(at(other), at(one).device.id);
    },
    async converged() {
      for (;;) {
        const digests = await Promise.all(stores.map(store => store.digest()));
        if (digests.every(digest => digest === digests[0])) return;
        await Promise.race(stores.map(store => store.nextEvent()));
      }
    },
    close,
    [Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose")]: close,
  } as TestPeers<S>;
}
