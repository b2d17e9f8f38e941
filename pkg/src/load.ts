import type { OpenOptions } from "./contract.js";
import type { Core, CoreOptions, News } from "./core.js";
import { SyncError } from "./errors.js";
import init, * as glue from "../wasm/privstack_sync.js";

/** The wasm module's exports. */
export interface Module {
  Core: { open(options: CoreOptions, told: (news: News[]) => void, network?: unknown, key?: Uint8Array): Promise<Core> };
  passphraseSalt(name: string): Promise<Uint8Array>;
  newSalt(): Uint8Array;
  deriveKey(passphrase: string, salt: Uint8Array): Uint8Array;
  isSealed(name: string): Promise<boolean | undefined>;
  changePassphrase(name: string, old: Uint8Array | undefined, key: Uint8Array | undefined, salt: Uint8Array, progress: (done: number, total: number) => boolean): Promise<void>;
  /** A QR code as the text of an SVG image. */
  qrSvg(text: string, scale: number): string;
  TestNetwork: new () => TestNetwork;
  BackupWriter: new () => { start(): Uint8Array; part(items: Uint8Array[]): Uint8Array; end(): Uint8Array; free(): void };
  backupParts(bytes: Uint8Array): Uint8Array[][];
}

export interface TestNetwork {
  share(): TestNetwork;
  cut(one: string, other: string): void;
  heal(one: string, other: string): void;
}

/** What the module can be made of. */
export type Source = NonNullable<OpenOptions<any>["wasm"]>;

let loading: Promise<Module> | undefined;

/** Loads the module, once a page: whoever comes first says what of. */
export function load(from: Source | (() => Source)): Promise<Module> {
  loading ??= start(from).catch(error => {
    loading = undefined; // the next `open` tries again
    throw error;
  });
  return loading;
}

let module: WebAssembly.Module | undefined;

/** The module as it was compiled, for a worker; undefined until it is loaded. */
export function compiled(): WebAssembly.Module | undefined {
  return module;
}

async function start(from: Source | (() => Source)): Promise<Module> {
  if (typeof WebAssembly !== "object") {
    throw new SyncError("unsupported", "this browser has no WebAssembly; use a current one");
  }
  try {
    module = await compile(await readable(typeof from === "function" ? from() : from));
    await init({ module_or_path: module });
  } catch (error) {
    if (error instanceof SyncError) throw error;
    throw new SyncError(
      "unsupported",
      `the wasm of @privstack/sync could not be loaded (${error instanceof Error ? error.message : String(error)}); ` +
        "serve the .wasm file beside your bundle and give its address as `wasm`, or import \"@privstack/sync/inline\"; " +
        "a Content-Security-Policy has to allow 'wasm-unsafe-eval'",
      { cause: error },
    );
  }
  return glue as unknown as Module;
}

async function compile(source: Source): Promise<WebAssembly.Module> {
  if (source instanceof WebAssembly.Module) return source;
  const answer = typeof source === "string" || source instanceof URL ? await fetch(source) : source;
  if (!(answer instanceof Response)) return WebAssembly.compile(answer);
  if (!answer.ok) throw new Error(`${answer.url} answers ${answer.status}`);
  // Others take no answer that is not declared as wasm.
  const isDeclared = answer.headers.get("content-type")?.startsWith("application/wasm");
  return isDeclared && "compileStreaming" in WebAssembly ? WebAssembly.compileStreaming(answer) : WebAssembly.compile(await answer.arrayBuffer());
}

/** Node's `fetch` reads no files. */
async function readable(source: Source): Promise<Source> {
  const address = source instanceof URL ? source : typeof source === "string" ? asUrl(source) : undefined;
  if (address?.protocol !== "file:") return source;
  const process = (globalThis as { process?: { getBuiltinModule?(name: string): any } }).process;
  const name = "node:fs/promises";
  const files = process?.getBuiltinModule?.(name) ?? (await import(/* @vite-ignore */ /* webpackIgnore: true */ name));
  return files.readFile(address);
}

function asUrl(text: string): URL | undefined {
  try {
    return new URL(text);
  } catch {
    return undefined;
  }
}
