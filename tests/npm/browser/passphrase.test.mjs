// A store's passphrase: set, changed and removed while tabs are open, with the page dying on the way, and what the
// browser's files show afterwards.
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { scratch } from "../../../scripts/stage.mjs";
import { begin, blank, openTab } from "./neighbours.mjs";
import { BROWSERS, launch, PROFILES } from "./support.mjs";

const CANARY = "a canary that nobody may read";

/** Runs `changePassphrase`; gives the code of what it throws, or the steps that it told. */
const change = (page, options) => page.evaluate(async options => {
  const { changePassphrase } = await import("/sync/dist/index.js");
  const steps = [];
  return changePassphrase({ name: "shared", onProgress: (...step) => steps.push(step), ...options })
    .then(() => steps, error => error.code ?? String(error));
}, options);
const isSealed = page => page.evaluate(async () => (await import("/sync/dist/index.js")).hasPassphrase({ name: "shared" }));
const opens = (page, options) => page.evaluate(async options => {
  const { begin } = await import("/page.mjs");
  return begin(options).then(() => store.settled()).then(() => "opened", error => error.code ?? String(error));
}, options);
const titles = async page => {
  await page.waitForFunction(() => all.current.length > 0);
  return page.evaluate(() => all.current.map(note => note.title));
};
/** Holds a lock as long as the page lives, whoever has it. */
const hold = (page, name, options = {}) => page.evaluate(([name, options]) => new Promise(held => {
  void navigator.locks.request(name, options, () => new Promise(() => held())).catch(() => {});
}), [name, options]);
/** Hears of what goes wrong with the store of a page. */
const listen = page => page.evaluate(async () => {
  globalThis.heard = [];
  (async () => {
    for await (const event of store.events()) if (event.type === "syncError") heard.push(event.error.code);
    heard.push("the end");
  })();
});

for (const name of Object.keys(BROWSERS)) {
  test(`a passphrase in ${name}`, { concurrency: 2 }, async test => {
    const browser = await launch(test, name);
    const address = await blank(test);
    const parts = [];

    parts.push(test.test("is set, changed and removed; other tabs save, close, and open with the new one only", async () => {
      const context = await browser.newContext();
      const [first, second] = [await openTab(context, address), await openTab(context, address)];
      await first.evaluate(() => { notes.create({ title: "a" }); return store.settled(); });
      await titles(second);
      const device = await first.evaluate(() => store.device.id);
      assert.equal(await isSealed(first), false);
      await listen(first);
      await listen(second);
      // Not saved yet when it is told to close.
      const [, steps] = await Promise.all([
        second.evaluate(() => { notes.create({ title: "b" }); }),
        change(first, { to: "one" }),
      ]);
      assert.ok(Array.isArray(steps) && steps.length > 1, String(steps));
      assert.deepEqual(steps.at(-1)[0], steps.at(-1)[1]);
      for (const page of [first, second]) {
        await page.waitForFunction(() => heard.length === 2);
        assert.deepEqual(await page.evaluate(() => heard), ["locked", "the end"]);
        assert.equal(await page.evaluate(() => { try { notes.create({}); } catch (error) { return error.code; } }), "closed");
      }
      assert.equal(await isSealed(second), true);
      for (const wrong of [{}, { passphrase: "two" }]) assert.equal(await opens(second, wrong), "locked");
      for (const page of [first, second]) {
        assert.equal(await opens(page, { passphrase: "one" }), "opened");
        assert.deepEqual(await titles(page), ["a", "b"]);
      }
      assert.equal(await second.evaluate(() => store.device.id), device);

      // What cannot be done asks nobody to close anything.
      for (const [options, code] of [[{ from: "two", to: "three" }, "locked"], [{ to: "three" }, "locked"], [{}, "invalid"], [{ from: "one", to: "" }, "invalid"]]) {
        assert.equal(await change(first, options), code, JSON.stringify(options));
      }
      await first.evaluate(() => { notes.create({ title: "c" }); return store.settled(); });
      await second.waitForFunction(() => all.current.length === 3);

      assert.ok(Array.isArray(await change(second, { from: "one", to: "two" })));
      assert.equal(await opens(first, { passphrase: "one" }), "locked");
      assert.equal(await opens(first, { passphrase: "two" }), "opened");
      assert.deepEqual(await titles(first), ["a", "b", "c"]);
      assert.ok(Array.isArray(await change(first, { from: "two" })));
      assert.equal(await isSealed(first), false);
      assert.equal(await opens(second, { passphrase: "two" }), "locked");
      assert.equal(await opens(second, {}), "opened");
      assert.deepEqual(await titles(second), ["a", "b", "c"]);
      for (const page of [first, second]) assert.deepEqual(page.heard, []);
      await context.close();
    }));

    parts.push(test.test("is not there for a store that is not there, and none is made by asking", async () => {
      const page = await (await browser.newContext()).newPage();
      await page.goto(address);
      assert.equal(await isSealed(page), false);
      assert.equal(await change(page, { to: "one" }), "not_found");
      assert.equal(await change(page, { from: "one" }), "not_found");
      assert.deepEqual(await page.evaluate(() => indexedDB.databases()), []);
      await page.context().close();
    }));

    parts.push(test.test("can be given up until all is copied; a tab that does not close is named", async () => {
      const context = await browser.newContext();
      const page = await openTab(context, address);
      await page.evaluate(() => { notes.create({ title: "a" }); return store.close(); });
      const code = await page.evaluate(async () => {
        const { changePassphrase } = await import("/sync/dist/index.js");
        const given = new AbortController();
        const onProgress = () => given.abort();
        return changePassphrase({ name: "shared", to: "one", signal: given.signal, onProgress }).then(() => "done", error => error.code);
      });
      assert.equal(code, "aborted");
      assert.equal(await isSealed(page), false);
      const other = await context.newPage();
      await other.goto(address);
      await hold(other, "privstack-sync shared");
      assert.equal(await change(page, { to: "one" }), "tab_conflict");
      await other.close();
      assert.equal(await opens(page, {}), "opened");
      assert.deepEqual(await titles(page), ["a"]);
      await context.close();
    }));

    parts.push(test.test("that is being changed opens for nobody, and the next one ends what was left", async () => {
      const context = await browser.newContext();
      const [page, other] = [await openTab(context, address), await context.newPage()];
      await page.evaluate(() => { notes.create({ title: "a" }); return store.close(); });
      await other.goto(address);
      // As a tab leaves it that is at it, or has died.
      await other.evaluate(() => new Promise(done => {
        indexedDB.open("shared").onsuccess = ({ target: { result: db } }) => {
          const transaction = db.transaction("own", "readwrite");
          transaction.objectStore("own").put(1, "change");
          transaction.oncomplete = () => { db.close(); done(); };
        };
      }));
      await hold(other, "privstack-sync shared passphrase");
      assert.equal(await opens(page, {}), "locked");
      await other.close();
      assert.equal(await opens(page, {}), "opened");
      assert.deepEqual(await titles(page), ["a"]);
      await context.close();
    }));

    parts.push(test.test("is not disturbed by who robs the tab that is at it", async () => {
      const context = await browser.newContext();
      const [page, other] = [await openTab(context, address), await context.newPage()];
      await page.evaluate(() => {
        for (let n = 0; n < 40; n += 1) notes.create({ title: `${n} `.padEnd(60_000, Math.random().toString(36)) });
        return store.settled();
      });
      const digest = await page.evaluate(() => store.digest());
      await other.goto(address);
      const reached = page.waitForEvent("console", message => message.text() === "reached");
      const changed = page.evaluate(async () => {
        const { changePassphrase } = await import("/sync/dist/index.js");
        let told = false;
        await changePassphrase({ name: "shared", to: "one", onProgress: () => { if (!told) console.log("reached"); told = true; } });
      });
      await reached;
      // As a tab does that takes the other for hung, and then opens the store.
      await hold(other, "privstack-sync shared", { steal: true });
      const codes = [];
      for (const options of [{}, { passphrase: "one" }]) codes.push(await opens(await context.newPage().then(async third => {
        await third.goto(address);
        return third;
      }), options));
      await changed;
      assert.ok(codes.every(code => code === "locked" || code === "opened"), `${codes}`);
      await other.close();
      assert.equal(await opens(page, {}), "locked");
      assert.equal(await opens(page, { passphrase: "one" }), "opened");
      assert.equal(await page.evaluate(() => store.digest()), digest);
      await context.close();
    }));

    parts.push(test.test("changes whole or not at all where the page dies on the way", async () => {
      const context = await browser.newContext();
      const first = await openTab(context, address);
      await first.evaluate(() => {
        for (let n = 0; n < 40; n += 1) notes.create({ title: `${n} `.padEnd(60_000, Math.random().toString(36)) });
        return store.settled();
      });
      const digest = await first.evaluate(() => store.digest());
      await first.close();
      const passphrases = [undefined, "one", "two"];
      let now = 0;
      for (const part of [0.01, 0.4, 0.6, 0.9]) {
        const to = (now + 1) % 3;
        const page = await context.newPage();
        await page.goto(address);
        const reached = page.waitForEvent("console", message => message.text() === "reached");
        await page.evaluate(([from, to, part]) => {
          void (async () => {
            const { changePassphrase } = await import("/sync/dist/index.js");
            await changePassphrase({ name: "shared", from, to, onProgress: (done, total) => { if (done >= total * part) console.log("reached"); } });
          })();
        }, [passphrases[now], passphrases[to], part]);
        await reached;
        await page.close();
        const after = await context.newPage();
        await after.goto(address);
        const codes = [];
        for (const passphrase of passphrases) codes.push(await opens(after, { passphrase }).then(async code => {
          if (code !== "opened") return code;
          assert.equal(await after.evaluate(() => store.digest()), digest);
          await after.evaluate(() => store.close());
          return code;
        }));
        assert.deepEqual(codes.filter((_, at) => at !== now && at !== to), ["locked"], `${part}`);
        assert.equal(codes.filter(code => code === "opened").length, 1, `${part} ${codes}`);
        now = codes.indexOf("opened");
        assert.equal((await after.evaluate(() => indexedDB.databases())).length, 1);
        await after.close();
      }
      await context.close();
    }));
    await Promise.all(parts);
  });

  test(`in the profile of ${name} nothing of the notes is readable once a passphrase is set`, async test => {
    const { folder, remove } = await scratch("profile");
    test.after(remove);
    const address = await blank(test);
    let context;
    test.after(() => context?.close());
    const start = async () => {
      context = await PROFILES[name](folder);
      const page = await context.newPage();
      await page.goto(address);
      return page;
    };
    const end = async () => {
      await context.close();
      context = undefined;
    };
    const readable = async () => {
      const files = (await readdir(folder, { recursive: true, withFileTypes: true })).filter(entry => entry.isFile());
      const found = await Promise.all(files.map(async file => (await readFile(join(file.parentPath, file.name))).includes(CANARY) && file.name));
      return found.filter(Boolean);
    };
    let page = await start();
    await begin(page);
    await page.evaluate(canary => {
      for (let n = 0; n < 2_000; n += 1) notes.create({ title: `${canary} ${n}` });
      return store.settled();
    }, CANARY);
    await page.evaluate(() => store.close());
    assert.notDeepEqual(await readable(), [], "without a passphrase it is");
    assert.ok(Array.isArray(await change(page, { to: "one" })));
    await end();
    // Chromium throws old files away when it starts next.
    page = await start();
    await begin(page, { passphrase: "one" });
    await page.waitForFunction(() => all.current.length === 2_000);
    await end();
    assert.deepEqual(await readable(), []);
  });
}
