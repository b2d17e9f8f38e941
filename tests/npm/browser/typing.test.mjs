// What is typed on the notes board is handed over in small groups: no letter is lost, whatever happens meanwhile.
import assert from "node:assert/strict";
import test from "node:test";
import { alike, Board, nativeHas, quiet, stage } from "./board.mjs";
import { BROWSERS, launch } from "./support.mjs";

const LINE = "the quick brown fox jumps over the lazy dog ";
const note = (title, text) => ({ title, text, colour: "plain", tags: [], done: false });

for (const name of Object.keys(BROWSERS)) {
  test(`typing in ${name}`, async test => {
    const browser = await launch(test, name);
    const { native, address } = await stage(test);
    const context = await browser.newContext();
    const board = await Board.open(context, address);
    const { page } = board;
    const area = page.locator("#note-text");
    const { entities: [id] } = await native.ask("put", { type: "note", entity: null, ops: [{ set: ["title", "Typed"] }, { set: ["place", 1] }, { text_insert: ["text", 0, "|"] }] });
    await board.showsTitles("Typed");

    await test.test("what another device types at the same time stays, and so does the caret", async () => {
      await board.edit("Typed");
      await area.press("Control+End");
      const there = (async () => {
        for (let at = 0; at < 40; at += 1) await native.ask("put", { type: "note", entity: id, ops: [{ text_insert: ["text", at, String(at % 10)] }] });
      })();
      for (let line = 0; line < 3; line += 1) await page.keyboard.type(LINE);
      await there;
      await board.closeEditor();
      const text = `${"0123456789".repeat(4)}|${LINE.repeat(3)}`;
      await nativeHas(native, [note("Typed", text)]);
      await board.shows([note("Typed", text)]);
      await alike(native, [board]);
    });

    await test.test("many letters are few edits, and the timeline draws a burst as one dot", async () => {
      const edits = async () => (await native.ask("history", { entity: id })).changes.length;
      const before = await edits();
      await board.edit("Typed");
      await area.fill("");
      await page.keyboard.type(LINE);
      await board.closeEditor();
      await nativeHas(native, [note("Typed", LINE)]);
      const made = (await edits()) - before;
      assert.ok(made < LINE.length / 2, `${made} edits`);
      await page.locator(".commit.own ~ .number, .commit.conflict ~ .number").first().waitFor();
      const dots = await page.locator(".commit").count();
      assert.ok(dots < 20, `${dots} dots`);
    });

    await test.test("a tick, a tag and a switch come after what was typed before them", async () => {
      await board.edit("Typed");
      await area.fill("typed first");
      // In one go: nothing has time to wait for.
      const text = await page.evaluate(async () => {
        const area = document.getElementById("note-text");
        area.setRangeText(", then ticked", area.value.length, area.value.length, "end");
        area.dispatchEvent(new InputEvent("input", { bubbles: true }));
        document.getElementById("note-done").click();
        return document.querySelector("#board .text").textContent;
      });
      assert.equal(text, "typed first, then ticked");
      await board.closeEditor();
      await nativeHas(native, [{ ...note("Typed", "typed first, then ticked"), done: true }]);
    });

    await test.test("a page that goes out of sight has handed over every letter", async () => {
      await board.edit("Typed");
      const shown = await page.evaluate(() => {
        const area = document.getElementById("note-text");
        area.value += "!";
        area.dispatchEvent(new InputEvent("input", { bubbles: true }));
        const before = document.querySelector("#board .text").textContent;
        Object.defineProperty(document, "visibilityState", { configurable: true, get: () => "hidden" });
        document.dispatchEvent(new Event("visibilitychange"));
        delete document.visibilityState;
        return [before, document.querySelector("#board .text").textContent];
      });
      assert.deepEqual(shown, ["typed first, then ticked", "typed first, then ticked!"]);
      await board.closeEditor();
    });

    await test.test("letters that are being composed wait for their end, and others' show then", async () => {
      await board.edit("Typed");
      await page.evaluate(() => {
        const area = document.getElementById("note-text");
        area.dispatchEvent(new CompositionEvent("compositionstart", { bubbles: true }));
        area.value += "か";
        area.dispatchEvent(new InputEvent("input", { bubbles: true, isComposing: true }));
      });
      await native.ask("put", { type: "note", entity: id, ops: [{ text_insert: ["text", 0, ">"] }] });
      await page.locator("#board .text", { hasText: /^>/ }).waitFor();
      assert.equal(await area.inputValue(), "typed first, then ticked!か");
      await page.evaluate(() => document.getElementById("note-text").dispatchEvent(new CompositionEvent("compositionend", { bubbles: true })));
      await page.waitForFunction(() => document.getElementById("note-text").value === ">typed first, then ticked!か");
      await board.closeEditor();
      await nativeHas(native, [{ ...note("Typed", ">typed first, then ticked!か"), done: true }]);
    });

    for (const [how, leave] of Object.entries({
      reloaded: () => page.reload(),
      "sent elsewhere": () => page.goto("about:blank").then(() => page.goto(address)),
    })) {
      await test.test(`a page that is ${how} right after a letter has kept it`, async () => {
        await board.edit("Typed");
        await area.fill(`before it was ${how}`);
        await page.keyboard.type(".");
        await leave();
        await board.ready();
        const wanted = [{ ...note("Typed", `before it was ${how}.`), done: true }];
        await board.shows(wanted);
        await nativeHas(native, wanted);

        await board.edit("Typed");
        await page.locator("#note-title").fill("Typed a");
        await page.keyboard.type("new");
        await leave();
        await board.ready();
        await board.showsTitles("Typed anew");
        await page.waitForFunction(() => Object.keys(localStorage).every(name => !name.startsWith("notes-board unsaved")));
        await board.edit("Typed anew");
        await page.locator("#note-title").fill("Typed");
        await board.closeEditor();
        await nativeHas(native, wanted);
      });
    }

    await test.test("what goes wrong is said in the dialog that is open, until one has read it", async () => {
      await board.edit("Typed");
      await page.evaluate(async () => (await import("/dom.js")).problem(new Error("something")));
      await page.locator("#editor #problem", { hasText: "something" }).waitFor();
      await board.closeEditor();
      // It stays when the dialog goes.
      await page.locator("#problem").waitFor();
      await page.locator("#problem").getByRole("button", { name: "Dismiss" }).click();
      assert.equal(await page.locator("#problem").isVisible(), false);
      quiet(board);
    });
  });
}
