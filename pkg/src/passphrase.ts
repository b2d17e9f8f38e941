import { syncError } from "./errors.js";
import { compiled, type Module } from "./load.js";

/** What the worker is given. */
export interface Work { module: WebAssembly.Module; passphrase: string; salt: Uint8Array }
/** What it answers. */
export type Result = { key: Uint8Array } | { error: string };

/**
 * The key that a passphrase stands for. Deriving it takes seconds on purpose: a worker does it. The page does it itself
 * where there is none, as with esbuild, which leaves the worker's file out, or under a policy that forbids it.
 */
export async function sealKey(module: Module, name: string, passphrase: string): Promise<Uint8Array> {
  try {
    const salt = await module.passphraseSalt(name);
    const key = await inWorker(passphrase, salt);
    if (key) return key;
    console.warn("@privstack/sync: the page stands still while its passphrase is worked on, as there is no worker for it: "
      + "serve dist/derive.js as the bundle expects it, and let the Content-Security-Policy allow it (worker-src)");
    return module.deriveKey(passphrase, salt);
  } catch (thrown) {
    throw syncError(thrown);
  }
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
