import type { SyncStatus } from "./contract.js";

/** The browser takes as long to answer as a write takes to be saved, and its figures are rounded. */
const AGAIN_MS = 2_000;

export const NO_USE: SyncStatus["storage"] = Object.freeze({ used: 0, quota: 0, persistent: false });

/** What `status.storage` shows: asked for when it is looked at, at most every two seconds. */
export class StorageUse {
  readonly #stale: () => void;
  #known = NO_USE;
  #askedAt = -Infinity;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `stale` is called when what was given last may have changed and can be asked for again. */
  constructor(stale: () => void) {
    this.#stale = stale;
  }

  /** The next look asks the browser. */
  forget(): void {
    this.#askedAt = -Infinity;
  }

  end(): void {
    clearTimeout(this.#timer);
  }

  async look(): Promise<SyncStatus["storage"]> {
    const left = this.#askedAt + AGAIN_MS - performance.now();
    if (left > 0) {
      this.#timer ??= setTimeout(() => {
        this.#timer = undefined;
        this.#stale();
      }, left + 1);
      return this.#known;
    }
    this.#askedAt = performance.now();
    try {
      const storage = globalThis.navigator?.storage;
      const [estimate, persistent] = await Promise.all([storage?.estimate?.(), storage?.persisted?.()]);
      this.#known = Object.freeze({ used: estimate?.usage ?? 0, quota: estimate?.quota ?? 0, persistent: persistent ?? false });
    } catch {
      this.#known = NO_USE; // private windows of some browsers say nothing
    }
    return this.#known;
  }
}
