import { copyFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { build } from "esbuild";

const here = import.meta.dirname;

/** Bundles each library's page, as apps are; automerge's wasm lies beside it, as its slim build wants it. */
export async function buildPages(folder) {
  await mkdir(folder, { recursive: true });
  await build({
    entryPoints: ["page.mjs", "yjs.page.mjs", "automerge.page.mjs"].map(name => join(here, name)), outdir: folder,
    bundle: true, minify: true, format: "esm", target: "es2022", logLevel: "warning",
  });
  await copyFile(join(here, "node_modules/@automerge/automerge/dist/automerge.wasm"), join(folder, "automerge.wasm"));
}
