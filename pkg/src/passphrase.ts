import { syncError } from "./errors.js";
import { compiled, type Module } from "./load.js";

/** What the worker is given. */
export interface Work { module: WebAssembly.Module; passphrase: string; salt: Uint8Array }
/** What it answers. */
export type Result = { key: Uint8Array } | { error: string };

/** The key that a passphrase stands for. Deriving it takes seconds on purpose: a worker does it, where one can be had. */
export async function sealKey(module: Module, name: string, passphrase: string): Promise<Uint8Array> {
  try {
    const salt = await module.passphraseSalt(name);
    return (await inWorker(passphrase, salt)) ?? module.deriveKey(passphrase, salt);
  } catch (thrown) {
    throw syncError(thrown);
  }
}

/** Nothing where there is no worker: a bundler left its file out, or the page's Content-Security-Policy forbids it. */
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
