// The browser is asked to keep what is stored, once there is something worth keeping.
import assert from "node:assert/strict";
import { join } from "node:path";
import test from "node:test";
import { BROWSERS, complaints, launch, serve } from "./support.mjs";

const installed = join(import.meta.dirname, "../node_modules/@privstack/sync");
const LIMIT = { timeout: 15_000 };

/** A browser that says so when it is asked. */
async function answering(test, name, answer) {
  if (name !== "firefox") return launch(test, name);
  // Else it asks its user, and there is none.
  const prompt = "dom.storageManager.prompt.testing";
  return launch(test, name, { firefoxUserPrefs: { [prompt]: true, [`${prompt}.allow`]: answer } });
}

for (const name of Object.keys(BROWSERS)) {
  for (const answer of [true, false]) {
    test(`${name} is asked to keep a store when something was saved, and says ${answer ? "yes" : "no"}`, async test => {
      const address = await serve(test, import.meta.dirname, { "/sync/": installed });
      const browser = await answering(test, name, answer);
      const context = await browser.newContext();
      /** A tab that counts in `asked` how often the page has asked. */
      const visit = async (page, options = {}) => {
        await page.goto(`${address}/blank.html`);
        await page.evaluate(async options => {
          globalThis.asked = 0;
          const { persist } = StorageManager.prototype;
          StorageManager.prototype.persist = async function() {
            asked += 1;
            await permit();
            return persist.call(this);
          };
          await (await import("/page.mjs")).begin(options);
        }, options);
      };
      const tab = async options => {
        const page = await context.newPage();
        page.heard = complaints(page);
        await page.exposeFunction("permit", async () => {
          if (name !== "chromium" || !answer) return;
          const devtools = await context.newCDPSession(page);
          const { targetInfo: { browserContextId } } = await devtools.send("Target.getTargetInfo");
          await devtools.send("Browser.grantPermissions", { browserContextId, origin: address, permissions: ["durableStorage"] });
        });
        await visit(page, options);
        return page;
      };
      /** How often it has asked, once one more write is saved and the status has been read. */
      const asked = page => page.evaluate(async () => {
        notes.create({ title: "saved" });
        await store.settled();
        await navigator.storage.persisted();
        await store.digest();
        return globalThis.asked;
      });

      const page = await tab();
      assert.equal(await page.evaluate(async () => { await store.digest(); return globalThis.asked; }), 0, "nothing is worth it yet");
      await asked(page);
      await page.waitForFunction(() => globalThis.asked === 1, undefined, LIMIT);
      if (answer) await page.waitForFunction(() => store.status.current.storage.persistent, undefined, LIMIT);
      assert.equal(await asked(page), 1, "once is enough");
      assert.equal(await page.evaluate(() => navigator.storage.persisted()), answer);

      // Other tabs and later visits: nobody asks for what is there, and nobody's user is asked twice.
      const more = answer || name === "firefox" ? 0 : 1;
      const follower = await tab();
      await asked(follower);
      await follower.waitForFunction(more => globalThis.asked === more, more, LIMIT);
      assert.equal(await asked(follower), more);
      await follower.close();
      await visit(page);
      await asked(page);
      await page.waitForFunction(more => globalThis.asked === more, more, LIMIT);
      assert.equal(await asked(page), more);
      for (const one of [page, follower]) assert.deepEqual(one.heard, []);
    });
  }

  test(`${name} is asked after a join and after an import, and never for a store in memory`, async test => {
    const address = await serve(test, import.meta.dirname, { "/sync/": installed });
    const browser = await answering(test, name, true);
    for (const how of ["join", "import"]) {
      const page = await (await browser.newContext()).newPage();
      page.heard = complaints(page);
      await page.goto(`${address}/blank.html`);
      await page.evaluate(async () => {
        const { app, begin } = await import("/page.mjs");
        const { open } = await import("/sync/dist/index.js");
        globalThis.asked = new Promise(resolve => (StorageManager.prototype.persist = async () => (resolve("asked"), true)));
        globalThis.other = await open({ name: "other", schema: app, storage: "memory" });
        other.collection("note").create({ title: "there" });
        await other.settled();
        await begin();
        await store.digest();
      });
      const state = () => page.evaluate(() => Promise.race([asked, Promise.resolve("not asked")]));
      assert.equal(await state(), "not asked");
      await page.evaluate(async how => {
        if (how === "join") await store.join(await other.invite(store.device.id));
        else await store.import(await other.export());
      }, how);
      assert.equal(await page.evaluate(() => asked), "asked", how);
      assert.deepEqual(page.heard, []);
    }
  });
}
