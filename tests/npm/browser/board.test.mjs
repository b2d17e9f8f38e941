// The notes board in www/: what a person does on it reaches a native device and a second browser.
import assert from "node:assert/strict";
import test from "node:test";
import { alike, Board, nativeHas, quiet, stage } from "./board.mjs";
import { BROWSERS, launch } from "./support.mjs";

for (const name of Object.keys(BROWSERS)) {
  test(`the notes board in ${name}`, async test => {
    const browser = await launch(test, name);

    await test.test("a copy is saved, and copies are taken in", async test => {
      const { address } = await stage(test);
      const board = await Board.open(await browser.newContext(), address);
      await board.add({ title: "Milk" });
      // What the browser would be given to save: not every one that is driven here tells of downloads.
      await board.page.evaluate(() => {
        globalThis.saved = new Promise(resolve => {
          const blobs = [];
          const make = URL.createObjectURL;
          URL.createObjectURL = blob => (blobs.push(blob), make.call(URL, blob));
          HTMLAnchorElement.prototype.click = async function () {
            resolve([this.download, [...new Uint8Array(await blobs.at(-1).arrayBuffer())]]);
          };
        });
      });
      await board.page.getByRole("button", { name: "Save a copy" }).click();
      const [file, bytes] = await board.page.evaluate(() => saved);
      assert.match(file, /^notes \d{4}-\d\d-\d\d\.privstack$/);
      const take = async (name, bytes) => {
        await board.page.locator("#take-copy:enabled").waitFor();
        await board.page.evaluate(([name, bytes]) => {
          const chosen = new DataTransfer();
          chosen.items.add(new File([new Uint8Array(bytes)], name));
          const input = document.getElementById("copy-file");
          input.files = chosen.files;
          input.dispatchEvent(new Event("change"));
        }, [name, [...bytes]]);
      };
      await take("notes.privstack", bytes);
      await board.page.getByText("What is in “notes.privstack” is on the board.").waitFor();
      const bread = { registers: { title: "Bread", place: 1e9 }, counters: {}, sets: { tags: ["shop"] }, texts: { text: "rye" } };
      const copy = JSON.stringify({ privstackCopy: 1, entities: { note: { "01890000-0000-7000-8000-000000000001": bread } } });
      await take("rescued.json", Buffer.from(copy));
      await board.shows([
        { title: "Milk", text: "", colour: "plain", tags: [], done: false },
        { title: "Bread", text: "rye", colour: "plain", tags: ["shop"], done: false },
      ]);
      await take("other.json", Buffer.from("{}"));
      await board.page.getByText("this file is no privstack backup").waitFor();
      quiet(board);
      await board.page.context().close();
    });

    await test.test("what a person does on one board is on the other board and on the native device", async test => {
      const { native, address } = await stage(test);
      const one = await Board.open(await browser.newContext(), address);
      const other = await Board.open(await browser.newContext(), address);

      await one.add({ title: "Milk", text: "two litres", colour: "green", tags: ["shop", "home"] });
      await one.add({ title: "Trains", text: "at nine 🚆" });
      await one.add({ title: "Bread", done: true });
      const milk = { title: "Milk", text: "two litres", colour: "green", tags: ["home", "shop"], done: false };
      const trains = { title: "Trains", text: "at nine 🚆", colour: "plain", tags: [], done: false };
      const bread = { title: "Bread", text: "", colour: "plain", tags: [], done: true };
      await other.shows([milk, trains, bread]);
      await nativeHas(native, [milk, trains, bread]);

      // One drags, the other uses the buttons, by keyboard.
      await one.drag("Bread", "Milk");
      await other.showsTitles("Bread", "Milk", "Trains");
      await other.card("Trains").getByRole("button", { name: "before the previous note" }).press("Enter");
      await one.showsTitles("Bread", "Trains", "Milk");
      assert.match(await other.page.evaluate(() => document.activeElement.ariaLabel), /^Move “Trains” before/, "the focus goes along");
      await other.card("Trains").getByRole("button", { name: "after the next note" }).press("Space");
      await one.showsTitles("Bread", "Milk", "Trains");

      await one.page.getByLabel("Search the notes").fill("SHOP");
      await one.showsTitles("Milk");
      await one.page.getByLabel("Search the notes").fill("nothing like it");
      await one.page.getByText("No note matches “nothing like it”.").waitFor();
      await one.page.getByLabel("Search the notes").fill("");
      await one.page.getByLabel("Show done").uncheck();
      await one.showsTitles("Milk", "Trains");
      await one.page.getByLabel("Show done").check();

      await one.card("Milk").getByLabel("Done").check();
      await other.shows([bread, { ...milk, done: true }, trains]);
      await other.edit("Milk");
      await other.page.getByRole("button", { name: "Delete" }).click();
      await one.showsTitles("Bread", "Trains");
      await nativeHas(native, [bread, trains]);
      await other.page.getByRole("button", { name: "Undo" }).click();
      await one.shows([bread, { ...milk, done: true }, trains]);

      await one.offline(true);
      await one.typeInto("Trains", ", or at ten");
      await one.says(/^Working offline; \d+ changes? not sent yet/);
      await one.offline(false);
      const wanted = [bread, { ...milk, done: true }, { ...trains, text: "at nine 🚆, or at ten" }];
      await other.shows(wanted);
      await nativeHas(native, wanted);
      await alike(native, [one, other]);
      quiet(one, other);
    });

    await test.test("texts that three devices edit apart hold what each has typed", async test => {
      const { native, address } = await stage(test);
      const one = await Board.open(await browser.newContext(), address);
      await one.add({ title: "Shared", text: "middle" });
      const other = await Board.open(await browser.newContext(), address);
      await other.showsTitles("Shared");
      for (const board of [one, other]) await board.offline(true);
      await native.ask("pause");

      await one.typeInto("Shared", "one ", "Home");
      await other.typeInto("Shared", " other");
      const [{ id }] = await native.entities("note");
      await native.ask("put", { type: "note", entity: id, ops: [{ text_insert: ["text", 3, "-"] }] });

      await native.ask("resume");
      for (const board of [one, other]) await board.offline(false);
      const wanted = [{ title: "Shared", text: "one mid-dle other", colour: "plain", tags: [], done: false }];
      await nativeHas(native, wanted);
      for (const board of [one, other]) await board.shows(wanted);
      await alike(native, [one, other]);
      quiet(one, other);
    });

    await test.test("two tabs of a browser and its person typing in one note show the same", async test => {
      const { native, address } = await stage(test);
      const context = await browser.newContext();
      const one = await Board.open(context, address);
      await one.add({ title: "Tabs", text: "." });
      const other = await Board.open(context, address);
      await other.showsTitles("Tabs");
      for (const board of [one, other]) await board.edit("Tabs");
      await one.page.locator("#note-text").press("Control+Home");
      await other.page.locator("#note-text").press("Control+End");
      await Promise.all([one.page.keyboard.type("left "), other.page.keyboard.type(" right")]);
      const shown = page => page.waitForFunction(() => document.getElementById("note-text").value === "left . right");
      await Promise.all([shown(one.page), shown(other.page)]);
      await nativeHas(native, [{ title: "Tabs", text: "left . right", colour: "plain", tags: [], done: false }]);
      quiet(one, other);
    });

    await test.test("after the first visit the page and its notes are there without its server", async test => {
      const { native, server, address } = await stage(test);
      const context = await browser.newContext();
      const board = await Board.open(context, address);
      await board.add({ title: "Kept", text: "on this device" });
      const kept = [{ title: "Kept", text: "on this device", colour: "plain", tags: [], done: false }];
      await nativeHas(native, kept);
      await board.page.evaluate(() => navigator.serviceWorker.ready.then(() => {}));
      await board.page.close();
      await server.end();

      const again = await Board.open(context, address);
      await again.shows(kept);
      await again.typeInto("Kept", ", without a server");
      await nativeHas(native, [{ ...kept[0], text: "on this device, without a server" }]);
      assert.equal(await again.page.locator("#problem").isVisible(), false);
      quiet(board, again);
    });
  });
}
