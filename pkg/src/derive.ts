// A worker: derives one key from a passphrase, with the module that the page has compiled already.

import init, * as glue from "../wasm/privstack_sync.js";
import type { Module } from "./load.js";
import type { Result, Work } from "./passphrase.js";

const scope = globalThis as unknown as { onmessage: (event: MessageEvent<Work>) => void; postMessage(result: Result): void };

scope.onmessage = async ({ data: { module, passphrase, salt } }) => {
  try {
    await init({ module_or_path: module });
    scope.postMessage({ key: (glue as unknown as Module).deriveKey(passphrase, salt) });
  } catch (error) {
    scope.postMessage({ error: String(error) });
  }
};
