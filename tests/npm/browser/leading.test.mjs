// The tab that leads: what it was told stays true under the next one, and one that cannot open the store is in nobody's way.
import assert from "node:assert/strict";
import { join } from "node:path";
import test from "node:test";
import { command, makeVault, scratch, startDevice, startRelay } from "../../../scripts/stage.mjs";
import { BROWSERS, complaints, launch, serve } from "./support.mjs";

const installed = join(import.meta.dirname, "../node_modules/@privstack/sync");
const LIMIT = { timeout: 20_000 };

const begin = (page, options) => page.evaluate(async options => (await import("/page.mjs")).begin(options), options);
const titles = page => page.evaluate(() => all.current.map(note => note.title).join());
const leads = page => page.waitForFunction(() => store.status.current.tab === "leader", undefined, LIMIT);
const pauses = (page, paused) => page.waitForFunction(paused => (store.status.current.state === "paused") === paused, paused, LIMIT);
/** Pages without a screen are always visible; from here on this one says what it is told to. */
const look = (page, state) => page.evaluate(state => {
  Object.defineProperty(document, "visibilityState", { configurable: true, get: () => state });
  document.dispatchEvent(new Event("visibilitychange"));
}, state);
/** From here on the databases of this page cannot be opened, or can. */
const breakStorage = (page, broken) => page.evaluate(broken => {
  globalThis.opens ??= IDBFactory.prototype.open;
  IDBFactory.prototype.open = broken ? () => { throw new DOMException("no disk", "UnknownError"); } : globalThis.opens;
}, broken);

for (const name of Object.keys(BROWSERS)) {
  test(`the leader in ${name}`, async test => {
    const browser = await launch(test, name);
    const address = await serve(test, import.meta.dirname, { "/sync/": installed });

    async function blank(context) {
      const page = await context.newPage();
      page.heard = complaints(page);
      await page.goto(`${address}/blank.html`);
      return page;
    }
    async function tab(context, options) {
      const page = await blank(context);
      await begin(page, options);
      return page;
    }

    await test.test("links that were cut on purpose stay cut whoever leads next", async () => {
      const { folder, remove } = await scratch("leading");
      const relay = await startRelay(`${folder}/relay`);
      await makeVault(`${folder}/device`);
      await command(`${folder}/device`, "put", "note", "title=from afar");
      const native = await startDevice(`${folder}/device`, relay.address);
      const context = await browser.newContext();
      const options = { relays: [relay.identity] };
      try {
        const first = await tab(context, options);
        await first.evaluate(invite => store.join(invite), (await native.ask("invite", { peer: await first.evaluate(() => store.device.id) })).invite);
        await first.waitForFunction(() => all.current.length === 1, undefined, LIMIT);
        await first.evaluate(() => store.pause());
        await pauses(first, true);
        const id = await first.evaluate(() => store.device.id);
        const online = async () => (await native.ask("peers")).peers.some(peer => peer.peer === id && peer.online);
        await native.until(async () => !(await online()));

        // Handed over: the next one hears of the pause only now.
        await look(first, "hidden");
        const second = await tab(context, options);
        await leads(second);
        await pauses(second, true);
        // Closed: the third one heard of it while it followed, and the first, which is in line before it, is hidden.
        const third = await tab(context, options);
        await second.close();
        await leads(third);
        await pauses(third, true);
        await third.evaluate(() => { notes.create({ title: "kept here" }); return store.settled(); });
        await native.ask("put", { type: "note", entity: null, ops: [{ set: ["title", "kept there"] }] });
        assert.equal(await titles(third), "from afar,kept here");
        assert.equal(await online(), false);

        await third.evaluate(() => store.resume());
        await third.waitForFunction(() => all.current.length === 3, undefined, LIMIT);
        await pauses(first, false);
        for (const page of [first, third]) assert.deepEqual(page.heard, []);
      } finally {
        await context.close();
        for (const one of [native, relay]) await one.end();
        await remove();
      }
    });

    await test.test("a store that could not be opened can be opened in the same page and in others", async () => {
      const context = await browser.newContext();
      const page = await blank(context);
      await breakStorage(page, true);
      const failed = () => begin(page).then(() => "open", error => error.message);
      assert.match(await failed(), /the database `shared` failed/);
      assert.match(await failed(), /the database `shared` failed/, "and not a wait for ever");
      const other = await tab(context);
      assert.equal(await other.evaluate(() => store.status.current.tab), "leader");
      await breakStorage(page, false);
      await begin(page);
      await page.evaluate(() => { notes.create({ title: "saved" }); return store.settled(); });
      await other.waitForFunction(() => all.current.length === 1, undefined, LIMIT);
      await context.close();
    });

    await test.test("a tab that cannot take over says so and leaves it to the others", async () => {
      const context = await browser.newContext();
      const [first, second] = [await tab(context), await tab(context)];
      await second.evaluate(() => {
        (async () => { for await (const event of store.events()) if (event.type === "syncError") { globalThis.failure = event.error.message; break; } })();
      });
      await breakStorage(second, true);
      await first.close();
      await second.waitForFunction(() => globalThis.failure, undefined, LIMIT);
      assert.match(await second.evaluate(() => failure), /the database `shared` failed/);
      const third = await tab(context);
      await leads(third);
      await third.evaluate(() => { notes.create({ title: "by the third" }); return store.settled(); });
      await second.waitForFunction(() => all.current.length === 1, undefined, LIMIT);
      // It takes over later, once it can.
      await breakStorage(second, false);
      await third.close();
      await second.evaluate(() => { notes.create({ title: "by the second" }); return store.settled(); });
      await leads(second);
      assert.equal(await titles(second), "by the second,by the third");
      await context.close();
    });

    await test.test("a leader that goes out of view makes room for a tab that was in view all along", async () => {
      const context = await browser.newContext();
      const [first, second] = [await tab(context), await tab(context)];
      assert.equal(await second.evaluate(() => store.status.current.tab), "follower");
      await look(first, "hidden");
      await leads(second);
      await first.waitForFunction(() => store.status.current.tab === "follower", undefined, LIMIT);
      await first.evaluate(() => { notes.create({ title: "after" }); return store.settled(); });
      await second.waitForFunction(() => all.current.length === 1, undefined, LIMIT);
      for (const page of [first, second]) assert.deepEqual(page.heard, []);
      await context.close();
    });
  });
}
