// The package, built by what people build with, in a page with a strict Content-Security-Policy.
import assert from "node:assert/strict";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { build as esbuild } from "esbuild";
import { build as vite } from "vite";
import webpack from "webpack";
import { complaints, launch, serve } from "../browser/support.mjs";

const here = import.meta.dirname;
const installed = join(here, "../node_modules/@privstack/sync");

/** A folder for what is built. Inside of this one, so that packages are found. */
async function folder(test) {
  await mkdir(join(here, "built"), { recursive: true });
  const made = await mkdtemp(join(here, "built/"));
  test.after(() => rm(made, { recursive: true, force: true }));
  return made;
}

const page = script => `<!doctype html><title>loading</title><script type="module" src="${script}"></script>`;

async function works(test, address) {
  const browser = await launch(test, "chromium");
  const tab = await browser.newPage();
  const heard = complaints(tab);
  await tab.goto(address);
  await tab.waitForFunction(() => document.title !== "loading", undefined, { timeout: 30_000 }).catch(() => {});
  assert.equal(await tab.title(), "ok written", heard.join("\n"));
}

async function wasmFiles(made) {
  return (await readdir(made, { recursive: true })).filter(name => name.endsWith(".wasm"));
}

test("a plain module script", async test => {
  const made = await folder(test);
  const source = await readFile(join(here, "app.mjs"), "utf8");
  await writeFile(join(made, "app.js"), source.replace("@privstack/sync", "/sync/dist/index.js"));
  await writeFile(join(made, "index.html"), page("/app.js"));
  await works(test, await serve(test, made, { "/sync/": installed }));
});

test("Vite", async test => {
  const made = await folder(test);
  await writeFile(join(made, "index.html"), page("/app.mjs"));
  await cp(join(here, "app.mjs"), join(made, "app.mjs"));
  await vite({ root: made, logLevel: "error", build: { target: "es2022", outDir: "out" } });
  assert.equal((await wasmFiles(join(made, "out"))).length, 1);
  await works(test, await serve(test, join(made, "out")));
});

test("webpack 5", async test => {
  const made = await folder(test);
  const stats = await new Promise((resolve, reject) => webpack({
    mode: "production", entry: join(here, "app.mjs"), context: here, performance: { hints: false },
    output: { path: made, filename: "app.js", publicPath: "/" },
  }, (error, stats) => (error ? reject(error) : resolve(stats))));
  const { errors, warnings } = stats.toJson({ all: false, errors: true, warnings: true });
  assert.deepEqual([errors, warnings], [[], []]);
  assert.equal((await wasmFiles(made)).length, 1);
  await writeFile(join(made, "index.html"), page("/app.js"));
  await works(test, await serve(test, made));
});

test("esbuild, with the wasm beside the bundle", async test => {
  const made = await folder(test);
  await esbuild({
    entryPoints: [join(here, "app.mjs")], outfile: join(made, "app.js"), bundle: true, format: "esm", target: "es2022",
    banner: { js: 'globalThis.testOptions = () => ({ wasm: "/privstack_sync_bg.wasm" });' }, logLevel: "error",
  });
  await cp(join(installed, "wasm/privstack_sync_bg.wasm"), join(made, "privstack_sync_bg.wasm"));
  await writeFile(join(made, "index.html"), page("/app.js"));
  await works(test, await serve(test, made));
});

test("esbuild, with /inline and nothing to configure", async test => {
  const made = await folder(test);
  await esbuild({
    entryPoints: [join(here, "app.mjs")], outfile: join(made, "app.js"), bundle: true, format: "esm", target: "es2022",
    alias: { "@privstack/sync": "@privstack/sync/inline" }, logLevel: "error",
  });
  assert.deepEqual(await wasmFiles(made), []);
  await writeFile(join(made, "index.html"), page("/app.js"));
  await works(test, await serve(test, made));
});
