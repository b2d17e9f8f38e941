// Measures the package in browsers, and others beside it: `make bench-browser`, `QUICK=1` for a tenth of the data.
// `node main.mjs chromium page` runs the parts whose name has one of the words in it, in that browser.
import { join } from "node:path";
import { buildPages } from "./build.mjs";
import { Bench } from "./harness.mjs";
import { alone, inOnePage, throughRelay } from "./ours.mjs";
import { automerge, yjs } from "./others.mjs";
import { Report } from "./report.mjs";

const target = join(import.meta.dirname, "../../../target");
const built = join(target, "bench-browser");
const browsers = ["chromium", "firefox"];
const parts = { page: inOnePage, relay: throughRelay, alone, yjs, automerge };

const words = process.argv.slice(2);
const chosen = (names, words) => names.filter(name => words.length === 0 || words.includes(name));
// Playwright closes its browsers on this signal and lets the program go on to the next part.
process.once("SIGTERM", () => process.exit(143));
await buildPages(built);
const report = new Report();
let failed = false;
for (const browser of chosen(browsers, words.filter(word => browsers.includes(word)))) {
  for (const part of chosen(Object.keys(parts), words.filter(word => word in parts))) {
    console.log(`${browser}, ${part}:`);
    const bench = await Bench.start(browser, built);
    try {
      await parts[part](bench, report);
    } catch (error) {
      failed = true;
      console.error(error);
    } finally {
      await bench.end();
    }
  }
}
console.log(`\n${report.table()}`);
await report.save(join(target, "bench-browser.jsonl"));
process.exit(failed ? 1 : 0);
