// What a page has to have for a store to open, and what it does not wait for.
import assert from "node:assert/strict";
import test from "node:test";
import { begin, blank } from "./neighbours.mjs";
import { BROWSERS, complaints, launch } from "./support.mjs";

/** Has a name of no loopback lead to this machine, as a network's does. */
const NAME = "notes.test";
const NAMED = {
  chromium: { args: ["--no-sandbox", "--disable-dev-shm-usage", `--host-resolver-rules=MAP ${NAME} 127.0.0.1`] },
  firefox: { firefoxUserPrefs: { "network.dns.localDomains": NAME } },
};

for (const name of Object.keys(BROWSERS)) {
  test(`a page of ${name} that came over http from elsewhere is told that it is not secure`, async test => {
    const browser = await launch(test, name, NAMED[name]);
    const page = await (await browser.newContext()).newPage();
    await page.goto((await blank(test)).replace("127.0.0.1", NAME));
    assert.equal(await page.evaluate(() => isSecureContext), false);
    for (const options of [{}, { storage: "memory" }]) {
      const error = await page.evaluate(async options => {
        const { begin } = await import("/page.mjs");
        return begin(options).then(() => ({}), ({ name, code, message }) => ({ name, code, message }));
      }, options);
      assert.deepEqual([error.name, error.code], ["SyncError", "insecure_context"]);
      assert.match(error.message, /https:\/\/ or from localhost/);
    }
  });

  test(`a passphrase is worked on in a worker of ${name}, and by the page itself only where there is none`, async test => {
    const browser = await launch(test, name);
    const context = await browser.newContext();
    const address = await blank(test);
    const spoil = {
      "": () => {},
      "the page's policy forbids it": () => {
        globalThis.Worker = class { constructor() { throw new DOMException("no", "SecurityError"); } };
      },
      "its file is not there": () => {
        const { Worker } = globalThis;
        globalThis.Worker = class extends Worker { constructor(url, options) { super(new URL("nothing.js", url), options); } };
      },
    };
    for (const [how, run] of Object.entries(spoil)) {
      const page = await context.newPage();
      const warned = [];
      page.on("console", message => message.type() === "warning" && warned.push(message.text()));
      await page.goto(address);
      await page.evaluate(run);
      await page.evaluate(() => {
        const { Worker } = globalThis;
        globalThis.keys = 0;
        globalThis.Worker = class extends Worker {
          constructor(...given) {
            super(...given);
            this.addEventListener("message", ({ data }) => { keys += Number("key" in data); });
          }
        };
      });
      await begin(page, { passphrase: "correct horse" });
      assert.equal(await page.evaluate(() => globalThis.keys), how === "" ? 1 : 0, how);
      assert.equal(warned.filter(text => /no worker/.test(text)).length, how === "" ? 0 : 1, `${how} ${warned}`);
      // The same key each time: it opens what was sealed before.
      await page.evaluate(() => { notes.create({ title: "sealed" }); return store.settled(); });
      await page.evaluate(() => store.close());
      await page.close();
    }
    const page = await context.newPage();
    page.heard = complaints(page);
    await page.goto(address);
    await begin(page, { passphrase: "correct horse" });
    await page.waitForFunction(() => all.current.length === 3);
    assert.deepEqual(page.heard, []);
  });
}
