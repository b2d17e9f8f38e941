import type { PassphraseChange, StoreName } from "./contract.js";
import { checkSecure, invalid, SyncError, syncError } from "./errors.js";
import { guarded } from "./live.js";
import { compiled, load, type Module, type Source } from "./load.js";

/** What the worker is given. */
export interface Work { module: WebAssembly.Module; passphrase: string; salt: Uint8Array }
/** What it answers. */
export type Result = { key: Uint8Array } | { error: string };

/** The key that opens a store with that passphrase. */
export async function sealKey(module: Module, name: string, passphrase: string): Promise<Uint8Array> {
  try {
    return await derived(module, passphrase, await module.passphraseSalt(name));
  } catch (thrown) {
    throw syncError(thrown);
  }
}

export async function isSealed({ name, wasm }: StoreName, from: () => Source): Promise<boolean> {
  checkPlace(name);
  const module = await load(wasm ?? from);
  try {
    return (await module.isSealed(name)) ?? false;
  } catch (thrown) {
    throw syncError(thrown);
  }
}

export async function changeSeal(options: PassphraseChange, wasm: () => Source): Promise<void> {
  const { name, from, to, signal, onProgress } = options;
  checkPlace(name);
  if (from === "" || to === "") throw invalid("changePassphrase: an empty passphrase seals nothing; leave it out, or give one");
  if (from === undefined && to === undefined) throw invalid("changePassphrase: give the passphrase that the store has as `from`, the one that it gets as `to`, or both");
  signal?.throwIfAborted();
  const module = await load(options.wasm ?? wasm);
  try {
    const isSealed = await module.isSealed(name);
    if (isSealed === undefined) throw new SyncError("not_found", `there is no store \`${name}\` in this browser; \`open\` makes one`);
    if (isSealed && from === undefined) throw new SyncError("locked", `the store \`${name}\` has a passphrase; give it as \`from\``);
    if (!isSealed && from !== undefined) throw new SyncError("locked", `the store \`${name}\` has no passphrase; leave \`from\` out`);
    const old = from === undefined ? undefined : await sealKey(module, name, from);
    const salt = module.newSalt();
    const key = to === undefined ? undefined : await derived(module, to, salt);
    await module.changePassphrase(name, old, key, salt, (done, total) => {
      if (signal?.aborted) return false;
      if (total > 0) guarded(() => onProgress?.(done, total));
      return true;
    });
  } catch (thrown) {
    throw syncError(thrown);
  }
}

function checkPlace(name: unknown): void {
  if (typeof name !== "string" || name === "") throw invalid("give the `name` of the store");
  if (typeof indexedDB === "undefined") throw new SyncError("unsupported", "there is no IndexedDB here (as in Node), and nothing that a passphrase could seal");
  checkSecure();
}

/**
 * The key of a passphrase. Deriving it takes seconds on purpose: a worker does it. The page does it itself where there is
 * none, as with esbuild, which leaves the worker's file out, or under a policy that forbids it.
 */
async function derived(module: Module, passphrase: string, salt: Uint8Array): Promise<Uint8Array> {
  const key = await inWorker(passphrase, salt);
  if (key) return key;
  console.warn("@privstack/sync: the page stands still while its passphrase is worked on, as there is no worker for it: "
    + "serve dist/derive.js as the bundle expects it, and let the Content-Security-Policy allow it (worker-src)");
  return module.deriveKey(passphrase, salt);
}

/** Nothing where there is no worker. */
async function inWorker(passphrase: string, salt: Uint8Array): Promise<Uint8Array | undefined> {
  const module = compiled();
  if (typeof Worker === "undefined" || !module) return undefined;
  let worker: Worker;
  try {
    worker = new Worker(new URL("./derive.js", import.meta.url), { type: "module" });
  } catch {
    return undefined;
  }
  const answer = new Promise<Result | undefined>(resolve => {
    worker.onmessage = ({ data }: MessageEvent<Result>) => resolve(data);
    worker.onerror = event => {
      event.preventDefault();
      resolve(undefined);
    };
    worker.onmessageerror = () => resolve(undefined);
  });
  try {
    worker.postMessage({ module, passphrase, salt } satisfies Work);
    const result = await answer;
    return result && "key" in result ? result.key : undefined;
  } catch {
    return undefined; // a module that cannot be sent
  } finally {
    worker.terminate();
  }
}
