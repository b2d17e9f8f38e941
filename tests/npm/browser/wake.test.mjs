// Links are made anew when the network comes back, when a page without any is shown again, and after a sleep. The page's
// timers stand still at those moments, so that the engine cannot have done it by itself.
import assert from "node:assert/strict";
import test from "node:test";
import { begin, blank, neighbours } from "./neighbours.mjs";
import { BROWSERS, complaints, launch } from "./support.mjs";

const LIMIT = { timeout: 60_000 };

/** Makes a page's timers stand still while `halted` is true, and its clock jump by `jump`. */
function instrument() {
  const names = ["setTimeout", "setInterval", "clearTimeout", "clearInterval"];
  const real = Object.fromEntries(names.map(name => [name, globalThis[name].bind(globalThis)]));
  const held = new Map();
  globalThis.halted = false;
  globalThis.go = () => {
    globalThis.halted = false;
    for (const run of held.values()) real.setTimeout(run);
    held.clear();
  };
  for (const set of ["setTimeout", "setInterval"]) {
    globalThis[set] = (run, ms, ...more) => {
      const id = real[set](() => (globalThis.halted ? held.set(id, () => run(...more)) : run(...more)), ms);
      return id;
    };
  }
  for (const clear of ["clearTimeout", "clearInterval"]) {
    globalThis[clear] = id => {
      held.delete(id);
      real[clear](id);
    };
  }
  const { now } = Date;
  globalThis.jump = 0;
  Date.now = () => now() + globalThis.jump;
}

/** Counts in `asked` how often the engine is told to make its links anew, and in `dialled` how often a socket is opened. */
async function count() {
  const { Engine } = await import("/sync/dist/engine.js");
  const { ask } = Engine.prototype;
  globalThis.asked = 0;
  Engine.prototype.ask = function(name, ...more) {
    if (name === "reconnect") asked += 1;
    return ask.call(this, name, ...more);
  };
  globalThis.dialled = 0;
  globalThis.WebSocket = class extends WebSocket {
    constructor(...given) {
      super(...given);
      dialled += 1;
    }
  };
}

/** A page in the vault of a native device. */
async function meet(test, browser) {
  const around = await neighbours(test);
  const page = await (await browser.newContext()).newPage();
  page.heard = complaints(page);
  await page.goto(await blank(test));
  await page.evaluate(instrument);
  await page.evaluate(count);
  await begin(page, { relays: [around.relay.identity] });
  await page.evaluate(invite => store.join(invite), await around.letIn(page));
  await online(page);
  return { page, around };
}

const online = page => page.waitForFunction(() => store.peers.current.some(peer => peer.state === "online"), undefined, LIMIT)
  .catch(async error => assert.fail(`${error.message} ${await page.evaluate(async () => JSON.stringify([asked, dialled, store.peers.current]))} ${page.heard}`));
const asked = page => page.evaluate(() => globalThis.asked);
const halt = page => page.evaluate(() => { globalThis.halted = true; });

/** The relay goes away and comes back, and the page has not noticed that it is back. */
async function cut({ page, around }) {
  await around.relay.end();
  await page.waitForFunction(() => store.status.current.state === "offline", undefined, LIMIT);
  await halt(page);
  await around.again();
  assert.equal(await asked(page), 0);
}

/** Timers go on; what is written arrives at the other side. */
async function together({ page, around }) {
  await page.evaluate(() => go());
  await online(page);
  await page.evaluate(() => void notes.create({ title: "here" }));
  await around.native.until(async () => (await around.native.entities("note")).length === 1);
  assert.equal(await page.evaluate(() => store.digest()), await around.native.digest());
}

/** Pages without a screen are always visible; from here on this one says what it is told to. */
const look = (page, state) => page.evaluate(state => {
  Object.defineProperty(document, "visibilityState", { configurable: true, get: () => state });
  document.dispatchEvent(new Event("visibilitychange"));
}, state);

for (const name of Object.keys(BROWSERS)) {
  test(`pages of ${name} that wake up`, async test => {
    const browser = await launch(test, name);

    await test.test("a page makes its links anew when the network comes back", async test => {
      const met = await meet(test, browser);
      await cut(met);
      await met.page.evaluate(() => dispatchEvent(new Event("online")));
      assert.equal(await asked(met.page), 1);
      await together(met);
    });

    await test.test("a page without a link makes its links anew when it is shown again", async test => {
      const met = await meet(test, browser);
      await cut(met);
      await look(met.page, "hidden");
      assert.equal(await asked(met.page), 0, "nobody sees it");
      await look(met.page, "visible");
      assert.equal(await asked(met.page), 1);
      await together(met);
    });

    await test.test("a page that is shown again keeps the links that it has, unless it has slept", async test => {
      const met = await meet(test, browser);
      await halt(met.page);
      await look(met.page, "hidden");
      await look(met.page, "visible");
      assert.equal(await asked(met.page), 0);
      await look(met.page, "hidden");
      await met.page.evaluate(() => { globalThis.jump += 61_000; });
      await look(met.page, "visible");
      assert.equal(await asked(met.page), 1);
      await together(met);
    });

    await test.test("a page that is seen makes its links anew after the device has slept", async test => {
      const met = await meet(test, browser);
      await halt(met.page);
      await met.page.evaluate(() => { globalThis.dialled = 0; globalThis.jump += 61_000; });
      assert.equal(await asked(met.page), 0);
      await met.page.evaluate(() => go());
      await met.page.waitForFunction(() => asked === 1 && dialled > 0, undefined, LIMIT);
      await together(met);
    });
  });
}
