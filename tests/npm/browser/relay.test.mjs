// Two browsers, as two devices of a vault, through a relay on loopback.
import assert from "node:assert/strict";
import { join } from "node:path";
import test from "node:test";
import { scratch, startRelay } from "../../../scripts/stage.mjs";
import { BROWSERS, complaints, launch, serve } from "./support.mjs";

const here = import.meta.dirname;

/** A relay until the test ends; gives the URL of its identity. */
async function relay(test) {
  const { folder, remove } = await scratch("relay");
  const running = await startRelay(folder);
  test.after(async () => {
    await running.end();
    await remove();
  });
  return running.identity;
}

const kinds = Object.keys(BROWSERS);
for (const [one, other] of kinds.flatMap((one, at) => kinds.slice(at).map(other => [one, other]))) {
  test(`${one} and ${other} share a vault through a relay, with the network coming and going`, async test => {
    const identity = await relay(test);
    const address = await serve(test, here, { "/sync/": join(here, "../node_modules/@privstack/sync") });
    const pages = [];
    for (const name of [one, other]) {
      const browser = await launch(test, name);
      const page = await (await browser.newContext()).newPage();
      page.heard = complaints(page);
      await page.goto(`${address}/blank.html`);
      await page.evaluate(async relay => (await import("/page.mjs")).begin({ relays: [relay] }), identity);
      pages.push(page);
    }
    const [first, second] = pages;
    const until = (page, passes, wanted) => page.waitForFunction(passes, wanted, { timeout: 30_000 })
      .catch(async error => assert.fail(`${error.message} ${await page.evaluate(async () => JSON.stringify([store.status.current, store.peers.current, await store.explain()]))} ${page.heard}`));
    await first.evaluate(() => void notes.create({ title: "a" }));
    const invite = await first.evaluate(async id => store.invite(id), await second.evaluate(() => store.device.id));
    await second.evaluate(invite => store.join(invite), invite);
    await until(second, () => all.current.length === 1);
    await second.evaluate(() => all.current[0].body.insert(0, "typed there"));
    await until(first, () => all.current[0].body.current === "typed there");

    await second.evaluate(() => store.pause());
    await until(second, () => store.status.current.state === "paused");
    for (const [page, by] of [[first, 1], [second, 2]]) await page.evaluate(by => notes.increment(all.current[0].id, "likes", by), by);
    await second.evaluate(() => store.resume());
    for (const page of pages) await until(page, () => all.current[0].likes === 3);
    assert.equal(await first.evaluate(() => store.digest()), await second.evaluate(() => store.digest()));

    const took = await first.evaluate(async () => {
      const start = performance.now();
      notes.create({ title: "b" });
      await store.settled("peer");
      return performance.now() - start;
    });
    console.log(`# ${one} and ${other}: an edit was on the other's disk, and that known here, after ${Math.round(took)} ms`);
  });
}
