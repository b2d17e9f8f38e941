/** The wasm in base64; `scripts/npm-package` writes the module. */
export declare const WASM: string;
