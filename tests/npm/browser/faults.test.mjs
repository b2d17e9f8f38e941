// What goes wrong in a browser's life: reloads, killed tabs, a deleted database, a full disk, a relay that goes away.
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import test from "node:test";
import { command } from "../../../scripts/stage.mjs";
import { begin, blank, neighbours, openTab } from "./neighbours.mjs";
import { BROWSERS, complaints, launch } from "./support.mjs";

const LIMIT = { timeout: 60_000 };
const MANY = 20_000;

const titles = page => page.evaluate(() => all.current.map(note => note.title));

for (const name of Object.keys(BROWSERS)) {
  test(`a first sync in ${name} goes on after a reload in its middle`, async test => {
    const { native, relay, letIn } = await neighbours(test, async (data, folder) => {
      const lines = Array.from({ length: MANY }, (_, at) => JSON.stringify({ title: `note ${at}` }));
      await writeFile(`${folder}/many.jsonl`, lines.join("\n"));
      await command(data, "import", "--type", "note", `${folder}/many.jsonl`);
    });
    const browser = await launch(test, name);
    const page = await openTab(await browser.newContext(), await blank(test), { relays: [relay.identity] });
    const invite = await letIn(page);
    const reloaded = page.waitForNavigation();
    await page.evaluate(invite => {
      all.subscribe(rows => {
        if (rows.length === 0 || sessionStorage.seen) return;
        sessionStorage.seen = rows.length;
        location.reload();
      });
      void store.join(invite);
    }, invite);
    await reloaded;
    await begin(page, { relays: [relay.identity] });
    const seen = await page.evaluate(() => Number(sessionStorage.seen));
    assert.ok(seen < MANY, `${seen} came before the reload`);
    await page.waitForFunction(many => all.current.length === many, MANY, LIMIT);
    await page.waitForFunction(() => store.peers.current.some(peer => peer.state === "online" && peer.behind === 0), undefined, LIMIT);
    assert.equal(await page.evaluate(() => store.digest()), await native.digest());
    assert.deepEqual(page.heard, []);
  });

  test(`what a tab of ${name} was told is saved outlives the tab that led`, async test => {
    const browser = await launch(test, name);
    const context = await browser.newContext();
    const address = await blank(test);
    const tabs = [];
    for (const letter of ["a", "b", "c"]) {
      const tab = await openTab(context, address);
      tab.saved = [];
      tab.on("console", message => message.text().startsWith("saved ") && tab.saved.push(message.text().slice(6)));
      tab.letter = letter;
      tabs.push(tab);
    }
    for (const tab of tabs) {
      void tab.evaluate(async letter => {
        for (let made = 0; ; made += 1) {
          const title = `${letter}${String(made).padStart(5, "0")}`;
          notes.create({ title });
          if (made % 3 === 0) notes.update(all.current[0].id, { likes: made });
          await store.settled();
          console.log(`saved ${title}`);
          if (globalThis.enough) return;
        }
      }, tab.letter).catch(() => {}); // it is closed in the middle
    }
    const enough = (tab, count) => tab.waitForFunction(count => all.current.length >= count, count, LIMIT);
    await enough(tabs[2], 60);
    await tabs[0].close();
    const after = (await titles(tabs[1])).length;
    await enough(tabs[2], after + 60);
    await tabs[1].close();
    const [, , last] = tabs;
    await enough(last, (await titles(last)).length + 30);
    await last.evaluate(() => { globalThis.enough = true; });
    await last.evaluate(() => store.settled());
    const there = new Set(await titles(last));
    for (const tab of tabs) {
      assert.ok(tab.saved.length > 5, `${tab.letter} saved ${tab.saved.length}`);
      assert.deepEqual(tab.saved.filter(title => !there.has(title)), []);
    }
    await last.reload();
    await begin(last);
    await last.waitForFunction(count => all.current.length === count, there.size, LIMIT);
    assert.deepEqual(last.heard, []);
  });

  test(`edits made in ${name} while the relay is down arrive when it is back`, async test => {
    const around = await neighbours(test);
    const { native } = around;
    const browser = await launch(test, name);
    const page = await openTab(await browser.newContext(), await blank(test), { relays: [around.relay.identity] });
    const invite = await around.letIn(page);
    await page.evaluate(invite => store.join(invite), invite);
    await page.waitForFunction(() => store.peers.current.some(peer => peer.state === "online"), undefined, LIMIT);
    await around.relay.end();
    await page.waitForFunction(() => store.status.current.state === "offline", undefined, LIMIT);
    await page.evaluate(() => { notes.create({ title: "here" }); return store.settled(); });
    await native.ask("put", { type: "note", entity: null, ops: [{ set: ["title", "there"] }] });
    await around.again();
    await page.waitForFunction(() => all.current.map(note => note.title).join() === "here,there", undefined, LIMIT)
      .catch(async error => assert.fail(`${error.message} ${await page.evaluate(async () => JSON.stringify([store.status.current, store.peers.current, await store.explain()]))} ${page.heard}`));
    await native.until(async () => (await native.entities("note")).length === 2);
    assert.equal(await page.evaluate(() => store.digest()), await native.digest());
  });

  test(`a store with a relay opens in ${name} where its page's small storage is full or forbidden`, async test => {
    const around = await neighbours(test);
    const browser = await launch(test, name);
    const context = await browser.newContext();
    const page = await context.newPage();
    page.heard = complaints(page);
    const address = await blank(test);
    const spoil = {
      full: () => {
        for (let size = 1 << 22; size > 0; size >>= 1) {
          try {
            localStorage.setItem(`filled ${size}`, "x".repeat(size));
          } catch {
            // half of it may fit
          }
        }
        try {
          localStorage.setItem("more", "x".repeat(50));
        } catch {
          return;
        }
        throw new Error("it is not full");
      },
      forbidden: () => Object.defineProperty(globalThis, "localStorage", { get: () => { throw new DOMException("no", "SecurityError"); } }),
    };
    for (const [how, run] of Object.entries(spoil)) {
      await page.goto(address);
      await page.evaluate(run);
      await begin(page, { relays: [around.relay.identity] });
      if (how === "full") await page.evaluate(invite => store.join(invite), await around.letIn(page));
      await page.waitForFunction(() => store.peers.current.some(peer => peer.state === "online"), undefined, LIMIT);
      await page.evaluate(() => store.close());
    }
    assert.deepEqual(page.heard, []);
  });

  test(`a database of ${name} that is deleted while it is open is told of, and nothing more is called saved`, async test => {
    const browser = await launch(test, name);
    const context = await browser.newContext();
    const address = await blank(test);
    const page = await openTab(context, address);
    await page.evaluate(() => { notes.create({ title: "before" }); return store.settled(); });
    await page.evaluate(failed);
    const other = await context.newPage();
    await other.goto(address);
    await other.evaluate(async () => {
      for (const { name } of await indexedDB.databases()) {
        await new Promise((resolve, reject) => {
          const request = indexedDB.deleteDatabase(name);
          request.onsuccess = resolve;
          request.onerror = () => reject(request.error);
        });
      }
    });
    // Nothing is written meanwhile: the deletion itself is told of.
    await page.waitForFunction(() => globalThis.failure, undefined, LIMIT);
    const [code, message] = await page.evaluate(() => failure);
    assert.equal(code, "storage");
    assert.match(message, /was deleted while it was open/);
    await page.evaluate(() => void notes.create({ title: "after" }));
    const end = what => page.evaluate(what => store[what]().then(() => "resolved", error => error.code), what);
    for (const what of ["settled", "digest"]) assert.equal(await end(what), "storage", what);
    const copy = await page.evaluate(async () => (await store.export()).text());
    assert.equal(await page.evaluate(() => store.status.current.unsaved), 1);
    assert.deepEqual(await titles(page), ["after", "before"], "what it shows stays");
    assert.equal(await end("close"), "resolved");

    await page.reload();
    await begin(page);
    assert.deepEqual(await page.evaluate(async () => { notes.create({ title: "anew" }); await store.settled(); return all.current.length; }), 1);
    for (let twice = 0; twice < 2; twice += 1) await page.evaluate(copy => store.import(new Blob([copy])), copy);
    assert.deepEqual(await titles(page), ["after", "anew", "before"], "what was shown, saved and not, was in the copy");
    assert.deepEqual(page.heard, []);
  });

  test(`a full disk in ${name} is told of, nothing that did not fit is called saved, and it is saved when there is room`, async test => {
    const ROOM = 12_000_000;
    const browser = await launch(test, name, name === "firefox" ? { firefoxUserPrefs: { "dom.quotaManager.temporaryStorage.fixedLimit": ROOM / 1000 } } : {});
    const context = await browser.newContext();
    const address = await blank(test);
    const blankPage = await context.newPage();
    await blankPage.goto(address);
    const makeRoom = await (name === "firefox" ? ballast(blankPage, ROOM / 2) : limit(context, blankPage, ROOM));
    const page = await openTab(context, address);
    await page.evaluate(failed);
    await page.evaluate(() => {
      globalThis.saved = 0;
      const random = () => Array.from(crypto.getRandomValues(new Uint8Array(50_000)), byte => byte.toString(16).padStart(2, "0")).join("");
      globalThis.filled = (async () => {
        for (;;) {
          notes.create({ title: random() });
          await store.settled().then(() => { saved += 1; }, error => { globalThis.refused = error.code; });
          if (globalThis.refused) return;
        }
      })();
    });
    await page.waitForFunction(() => globalThis.refused && store.status.current.unsaved > 0, undefined, LIMIT);
    assert.deepEqual(await page.evaluate(() => [refused, failure[0]]), ["quota", "quota"]);
    const saved = await page.evaluate(() => globalThis.saved);
    assert.ok(saved > 20, `${saved} fitted`);
    assert.ok(saved * 50_000 < ROOM, `${saved} fitted`);

    await makeRoom();
    await page.waitForFunction(() => store.status.current.unsaved === 0, undefined, LIMIT);
    await page.reload();
    await begin(page);
    await page.waitForFunction(count => all.current.length === count, saved + 1, LIMIT);
    assert.deepEqual(page.heard, []);
  });
}

/** Has a Chromium give this page's origin so much room; gives what makes it more. Before the database is opened: it keeps for
 *  a while what room it was told of. */
async function limit(context, page, room) {
  const tools = await context.newCDPSession(page);
  const { origin } = new URL(page.url());
  const give = quotaSize => tools.send("Storage.overrideQuotaForOrigin", { origin, quotaSize });
  await give(room);
  return () => give(10 * room);
}

/** Firefox takes its limit at its start only: a file takes up so much of it, until what this gives removes that. It is larger
 *  than what the store has: Firefox copies what lies in a database's journal before it takes more. */
async function ballast(page, bytes) {
  await page.evaluate(async bytes => {
    const folder = await navigator.storage.getDirectory();
    const file = await (await folder.getFileHandle("ballast", { create: true })).createWritable();
    for (let at = 0; at < bytes; at += 50_000) await file.write(crypto.getRandomValues(new Uint8Array(50_000)));
    await file.close();
  }, bytes);
  return () => page.evaluate(async () => (await navigator.storage.getDirectory()).removeEntry("ballast"));
}

/** Keeps the first failure that the store tells of, for later. */
function failed() {
  void (async () => {
    for await (const event of store.events({ history: 100 })) {
      if (event.type === "syncError") globalThis.failure ??= [event.error.code, event.error.message];
    }
  })();
}
