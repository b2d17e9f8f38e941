/** Where the wasm lies. Bundlers take every such line for a file of its own: there is this one. */
export const wasmUrl = (): URL => new URL("../wasm/privstack_sync_bg.wasm", import.meta.url);
