import { join } from "node:path";
import { BROWSERS, complaints, relay, serve } from "../browser/support.mjs";

const here = import.meta.dirname;
export const quick = Boolean(process.env.QUICK);
export const ENTITIES = quick ? 1_000 : 10_000;
export const EVENTS = ENTITIES * 10;
export const RUNS = quick ? 1 : 3;

/** A browser with all that it needs, until the end. */
export class Bench {
  #ends = [];

  static async start(name, built) {
    const bench = new Bench();
    bench.name = name;
    bench.address = await serve(bench, here, { "/wasm/": join(here, "../node_modules/@privstack/sync/wasm"), "/built/": built });
    bench.browser = await BROWSERS[name]();
    bench.after(() => bench.browser.close());
    return bench;
  }

  after(end) {
    this.#ends.unshift(end);
  }

  async end() {
    for (const end of this.#ends) await end();
  }

  /** The relay on loopback, started when it is first wanted. */
  relay() {
    return (this.started ??= relay(this));
  }

  /** A page with storage of its own, or another of `context`. */
  async page(context) {
    const page = await (context ?? (await this.browser.newContext())).newPage();
    page.heard = complaints(page);
    page.setDefaultTimeout(600_000);
    await page.goto(`${this.address}/blank.html`);
    return page;
  }
}

/** Calls an export of a module in the page; what fails says what the page complained of. */
export async function call(page, module, name, ...args) {
  try {
    return await page.evaluate(async ({ module, name, args }) => (await import(module))[name](...args), { module, name, args });
  } catch (error) {
    throw new Error(`${name}(${args.map(arg => JSON.stringify(arg)).join(", ")}): ${error.message}\n${page.heard.join("\n")}`);
  }
}

/** Calls it often enough, one call after the other. */
export async function times(count, run) {
  const results = [];
  for (let at = 0; at < count; at += 1) results.push(await run(at));
  return results;
}
