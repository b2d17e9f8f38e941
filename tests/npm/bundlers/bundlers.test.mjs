// The package, built for production by what people build with, in a page with a strict Content-Security-Policy.
import assert from "node:assert/strict";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { build as esbuild } from "esbuild";
import { build as vite } from "vite";
import webpack from "webpack";
import { BROWSERS, complaints, launch, serve } from "../browser/support.mjs";

const here = import.meta.dirname;
const installed = join(here, "../node_modules/@privstack/sync");
/** Apps, by the entry of the package that they use. Of its modules a bundler leaves out what nobody uses. */
const APPS = ["open", "react", "svelte", "testing"];

/** A folder for what is built. Inside of this one, so that packages are found. */
async function folder(test) {
  await mkdir(join(here, "built"), { recursive: true });
  const made = await mkdtemp(join(here, "built/"));
  test.after(() => rm(made, { recursive: true, force: true }));
  return made;
}

const page = script => `<!doctype html><title>loading</title><script type="module" src="${script}"></script>`;

async function works(test, folder, { mounts, wanted = "written" } = {}) {
  const address = await serve(test, folder, mounts);
  for (const name of Object.keys(BROWSERS)) {
    const tab = await (await launch(test, name)).newPage();
    const heard = complaints(tab);
    await tab.goto(address);
    await tab.waitForFunction(() => document.title !== "loading", undefined, { timeout: 30_000 }).catch(() => {});
    assert.equal(await tab.title(), `ok ${wanted}`, `${name}: ${heard.join("\n")}`);
  }
}

async function wasmFiles(made) {
  return (await readdir(made, { recursive: true })).filter(name => name.endsWith(".wasm"));
}

/** Builds the app of that entry into a folder; gives the folder to be served. */
const BUNDLERS = {
  async Vite(entry, made) {
    await writeFile(join(made, "app.mjs"), `import ${JSON.stringify(entry)};`);
    await writeFile(join(made, "index.html"), page("/app.mjs"));
    await vite({ root: made, logLevel: "error", build: { target: "es2022", outDir: "out" } });
    return join(made, "out");
  },
  async "webpack 5"(entry, made) {
    const stats = await new Promise((resolve, reject) => webpack({
      mode: "production", entry, context: here, performance: { hints: false },
      output: { path: made, filename: "app.js", publicPath: "/" },
    }, (error, stats) => (error ? reject(error) : resolve(stats))));
    const { errors, warnings } = stats.toJson({ all: false, errors: true, warnings: true });
    assert.deepEqual([errors, warnings], [[], []]);
    await writeFile(join(made, "index.html"), page("/app.js"));
    return made;
  },
  async esbuild(entry, made, more = {}) {
    await esbuild({
      entryPoints: [entry], outfile: join(made, "app.js"), bundle: true, format: "esm", target: "es2022", minify: true,
      define: { "process.env.NODE_ENV": '"production"' }, logLevel: "error", ...more,
    });
    await writeFile(join(made, "index.html"), page("/app.js"));
    return made;
  },
};

/** Puts the wasm where the package says that it lies: esbuild leaves that address as it is. */
async function beside(built) {
  await cp(join(installed, "wasm/privstack_sync_bg.wasm"), join(built, "wasm/privstack_sync_bg.wasm"));
}

for (const [bundler, build] of Object.entries(BUNDLERS)) {
  for (const app of APPS) {
    test(`${bundler} builds an app that uses ${app}, with the wasm as one file`, async test => {
      const built = await build(join(here, `${app}.mjs`), await folder(test));
      if (bundler === "esbuild") await beside(built);
      assert.equal((await wasmFiles(built)).length, 1);
      await works(test, built);
    });
  }

  const where = bundler === "esbuild" ? "in the page" : "in a worker"; // esbuild leaves the worker's file out
  test(`${bundler} builds an app whose passphrase is worked on ${where}`, async test => {
    const built = await build(join(here, "passphrase.mjs"), await folder(test));
    if (bundler === "esbuild") await beside(built);
    await works(test, built, { wanted: where });
  });

  test(`${bundler} builds an app that uses /inline, with no wasm file`, async test => {
    const made = await folder(test);
    const source = await readFile(join(here, "open.mjs"), "utf8");
    const entry = join(made, "entry.mjs");
    await writeFile(entry, source.replace("@privstack/sync", "@privstack/sync/inline").replace("./says", "../../says"));
    const built = await build(entry, made);
    assert.deepEqual(await wasmFiles(built), []);
    await works(test, built);
  });
}

test("esbuild, with the wasm at an address that the app gives", async test => {
  const made = await folder(test);
  await BUNDLERS.esbuild(join(here, "open.mjs"), made, {
    banner: { js: 'globalThis.testOptions = () => ({ wasm: "/elsewhere.wasm" });' },
  });
  await cp(join(installed, "wasm/privstack_sync_bg.wasm"), join(made, "elsewhere.wasm"));
  await works(test, made);
});

test("a plain module script", async test => {
  const made = await folder(test);
  const source = await readFile(join(here, "open.mjs"), "utf8");
  await writeFile(join(made, "app.js"), source.replace("@privstack/sync", "/sync/dist/index.js"));
  await cp(join(here, "says.mjs"), join(made, "says.mjs"));
  await writeFile(join(made, "index.html"), page("/app.js"));
  await works(test, made, { mounts: { "/sync/": installed } });
});
