// The timeline of the notes board: what it tells of edits, of batches that came in, and of who has won.
import assert from "node:assert/strict";
import test from "node:test";
import { Board, nativeHas, quiet, stage } from "./board.mjs";
import { BROWSERS, launch } from "./support.mjs";

/** The label of the newest dot that tells this, once there is one. */
async function told(board, pattern, within = "") {
  const found = await board.page.waitForFunction(([source, within]) => {
    const labels = [...document.querySelectorAll(`.commit${within}`)].map(dot => dot.getAttribute("aria-label"));
    return labels.findLast(label => new RegExp(source, "s").test(label));
  }, [pattern.source, within]).catch(async error => assert.fail(`${error.message} ${pattern}\n${(await labels(board)).join("\n\n")}`));
  return found.jsonValue();
}

const labels = board => board.page.locator(".commit").evaluateAll(dots => dots.map(dot => dot.getAttribute("aria-label")));

/** The clock of a note's last change, and the device's id, by a second opening of the board's store. */
const lastClock = (board, id) => board.page.evaluate(async id => {
  const [{ open }, { app }] = await Promise.all([import("/sync/dist/index.js"), import("/model.js")]);
  const store = await open({ name: "notes-board", schema: app });
  const { clock } = (await store.collection("note").history(id)).at(-1);
  await store.close();
  return [clock, store.device.id];
}, id);

async function retitle(board, title, wanted) {
  await board.edit(title);
  await board.page.locator("#note-title").fill(wanted);
  await board.closeEditor();
}

for (const name of Object.keys(BROWSERS)) {
  test(`the timeline of the notes board in ${name}`, async test => {
    const browser = await launch(test, name);
    const { native, address } = await stage(test);
    const one = await Board.open(await browser.newContext(), address);
    const other = await Board.open(await browser.newContext(), address);
    const agent = await one.page.evaluate(() => navigator.userAgent);
    const browserName = `${/Firefox/.test(agent) ? "Firefox" : "Chrome"} on Linux`;

    await test.test("a note that was made is told of so, with the edits that its author had seen of each device", async () => {
      await one.add({ title: "Milk" });
      await told(one, /^This device created “Milk”/);
      await other.showsTitles("Milk");
      await nativeHas(native, [{ title: "Milk", text: "", colour: "plain", tags: [], done: false }]);
      await other.card("Milk").getByLabel("Done").check();
      await told(other, /^This device changed the tick for done of “Milk”/);
      const label = await told(one, new RegExp(`^${browserName} changed the tick for done of “Milk”`));
      const [clock, self] = await lastClock(one, await one.card("Milk").getAttribute("data-id"));
      const seen = Object.entries(clock).map(([log, edits]) => `${log.startsWith(self) ? "This device" : browserName} ${edits}`);
      assert.equal(seen.length, 2);
      assert.ok(label.endsWith(`\nVector clock, the edits that ${browserName} had seen of each device: ${seen.join(", ")}.`), `${label} ${seen}`);
      for (const label of [...await labels(one), ...await labels(other)]) assert.doesNotMatch(label, /[“ ][+-][” ]/);
    });

    await test.test("a dot that is pointed at says the same below the lanes", async () => {
      await one.page.locator(".commit").last().hover();
      assert.equal(await one.page.locator("#detail").textContent(), (await labels(one)).at(-1));
    });

    await test.test("a batch that came in is an arrow from its device's lane to this one's", async () => {
      const arrow = one.page.locator(".arrow").last();
      assert.match(await arrow.locator("title").textContent(), new RegExp(`^\\d+ batch(es)? came from ${browserName}\\.$`));
      const lanes = await one.page.locator("#lane-names li").allTextContents();
      assert.equal(lanes[0], "This device");
      const [from, to] = (await arrow.getAttribute("d")).match(/^M[-\d.]+ ([\d.]+) L[\d.]+ ([\d.]+)$/).slice(1).map(Number);
      const heights = await one.page.locator(".lane").evaluateAll(lines => lines.map(line => Number(line.getAttribute("y1"))));
      assert.equal(heights.indexOf(from), lanes.indexOf(browserName));
      assert.ok(to < heights[1] && to >= heights[0], "it ends at this device");
    });

    await test.test("what two devices changed apart says which of them has won, and why", async () => {
      for (const board of [one, other]) await board.offline(true);
      await retitle(one, "Milk", "Oat milk");
      await told(one, /^This device changed the title of “Oat milk”/);
      await one.typeInto("Oat milk", "one");
      await told(one, /text of “Oat milk”/);
      await retitle(other, "Milk", "Soy milk");
      await other.typeInto("Soy milk", "other");
      for (const board of [one, other]) await board.offline(false);
      for (const board of [one, other]) await board.showsTitles("Soy milk");

      const rival = "changed the title too, without having seen this;";
      await told(one, new RegExp(`^This device .*\n${browserName} ${rival} that of ${browserName} is later and won\\.`), ".conflict");
      await told(one, new RegExp(`^${browserName} .*\nThis device ${rival} this one is later and won\\.`), ".conflict");
      await told(other, new RegExp(`^This device .*\n${browserName} ${rival} this one is later and won\\.`), ".conflict");
      await told(other, new RegExp(`^${browserName} .*\nThis device ${rival} that of This device is later and won\\.`), ".conflict");
      await told(one, /changed the text too, without having seen this: both sides stay\./, ".conflict");
    });

    await test.test("a note that was deleted keeps its dots, and one that comes back is told of so", async () => {
      const before = (await labels(one)).length;
      await other.edit("Soy milk");
      await other.page.getByRole("button", { name: "Delete" }).click();
      await one.showsTitles();
      await told(other, /^This device .*deleted “Soy milk”/);
      await told(one, new RegExp(`^${browserName} .*deleted “Soy milk”`));
      await told(one, /^This device created “Soy milk”/);
      assert.ok((await labels(one)).length >= before);
      await other.page.getByRole("button", { name: "Undo" }).click();
      await one.showsTitles("Soy milk");
      await told(one, new RegExp(`^${browserName} .*brought back “Soy milk”`));
    });

    await test.test("an edit has the history of its own note read, and no other", async () => {
      await one.add({ title: "Bread" });
      await told(one, /^This device created “Bread”/);
      // Once this is told, all of before has been read.
      await one.card("Soy milk").getByLabel("Done").uncheck();
      await told(one, /^This device .*tick for done.*“Soy milk”/);
      await one.page.evaluate(async () => {
        const { CollectionOf } = await import("/sync/dist/collection.js");
        const { history } = CollectionOf.prototype;
        globalThis.read = [];
        CollectionOf.prototype.history = function(id) {
          read.push(id);
          return history.call(this, id);
        };
      });
      await one.card("Soy milk").getByLabel("Done").check();
      await one.page.waitForFunction(() => read.length > 0);
      const milk = await one.card("Soy milk").getAttribute("data-id");
      assert.deepEqual([...new Set(await one.page.evaluate(() => read))], [milk]);
    });

    quiet(one, other);
  });
}
