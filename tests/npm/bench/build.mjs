import { copyFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { build } from "esbuild";

const here = import.meta.dirname;

/** Bundles what the others need; automerge's wasm lies beside it, as its slim build wants it. */
export async function buildOthers(folder) {
  await mkdir(folder, { recursive: true });
  await build({
    entryPoints: [join(here, "yjs.page.mjs"), join(here, "automerge.page.mjs")], outdir: folder, bundle: true, minify: true,
    format: "esm", target: "es2022", logLevel: "warning",
  });
  await copyFile(join(here, "node_modules/@automerge/automerge/dist/automerge.wasm"), join(folder, "automerge.wasm"));
}
