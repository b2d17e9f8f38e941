// How the notes board looks, light, dark and on a phone: pictures in target/screenshots, and no rule of axe is broken.
import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import test from "node:test";
import { Board, notesOf, quiet, stage } from "./board.mjs";
import { BROWSERS, launch } from "./support.mjs";

const pictures = join(import.meta.dirname, "../../../target/screenshots");
const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const LOOKS = {
  light: { colorScheme: "light", viewport: { width: 1280, height: 900 } },
  dark: { colorScheme: "dark", viewport: { width: 1280, height: 900 } },
  phone: { colorScheme: "light", viewport: { width: 360, height: 740 } },
};

/** A driven Firefox takes the colours for a context from its preferences only. */
const DARK = { firefoxUserPrefs: { "layout.css.prefers-color-scheme.content-override": 0 } };

const set = (title, place, more = []) => ({ type: "note", entity: null, ops: [{ set: ["title", title] }, { set: ["place", place] }, ...more] });
const NOTES = [
  set("Shopping", 1, [{ set: ["colour", "yellow"] }, { insert: ["tags", "home"] }, { text_insert: ["text", 0, "Milk\nBread\nApples\nCheese\nCoffee\nSoap\nand much more that does not fit on the card"] }]),
  set("A title that is so long that it takes more than one line of its card", 2, [{ set: ["colour", "green"] }, ...["one", "two", "three", "a-rather-long-tag-for-a-small-card"].map(tag => ({ insert: ["tags", tag] }))]),
  set("Trains", 3, [{ set: ["colour", "blue"] }, { text_insert: ["text", 0, "https://example.org/a/long/address/without/any/space/in/it/that/does/not/fit/on/one/line?at=all"] }]),
  set("Paint the door", 4, [{ set: ["colour", "pink"] }, { set: ["done", true] }, { insert: ["tags", "home"] }]),
  set("", 5, [{ text_insert: ["text", 0, "A note without a title. 🚪 שלום"] }]),
];

/** What axe finds, in words. */
async function violations(page) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => globalThis.axe.run());
  return found.violations.flatMap(({ id, nodes }) => nodes.map(node => `${id}: ${node.target} ${node.failureSummary}`));
}

for (const name of Object.keys(BROWSERS)) {
  test(`the look of the notes board in ${name}`, async test => {
    await mkdir(pictures, { recursive: true });
    const { native, address } = await stage(test);
    for (const note of NOTES) await native.ask("put", note);

    for (const [look, options] of Object.entries(LOOKS)) {
      await test.test(`${look}: everything fits, and everybody can use it`, async test => {
        const browser = await launch(test, name, look === "dark" ? DARK : {});
        const context = await browser.newContext({ ...options, reducedMotion: "reduce" });
        const board = await Board.open(context, address);
        const { page } = board;
        const picture = async (of, part, options) => {
          quiet(board);
          await page.evaluate(() => scrollTo(0, 0)); // the bar at the top belongs there in a picture of the whole page
          await of.screenshot({ path: join(pictures, `${name}-${look}${part && `-${part}`}.png`), ...options });
          // Playwright styles the page for a picture; Firefox says that the page's policy forbids it.
          board.complaints.length = 0;
        };
        const check = async part => {
          await picture(page, part, { fullPage: !part });
          assert.deepEqual(await violations(page), [], `${look} ${part}`);
          const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
          assert.ok(wide <= room, `${part || "the board"} is ${wide} wide, and there is room for ${room}`);
        };
        assert.equal(await page.evaluate(() => matchMedia("(prefers-color-scheme: dark)").matches), options.colorScheme === "dark");

        await board.showsTitles("Shopping", "A title that is so long that it takes more than one line of its card", "Trains", "Paint the door", "Untitled");
        await board.card("Trains").getByLabel("Done").check();
        // The newest dot of the timeline tells of it.
        await page.locator(".commit.own").last().hover();
        await page.locator("#detail", { hasText: "changed the tick for done of “Trains”" }).waitFor();
        await check("");
        await board.edit("Shopping");
        await check("editor");
        await board.closeEditor();
        await page.getByRole("button", { name: "Connect a device" }).click();
        await page.locator("#own-id", { hasText: /^12D3Koo/ }).waitFor();
        await check("connect");
        await page.locator("#connecting").getByRole("button", { name: "Close" }).click();
        await page.getByRole("button", { name: "Rename Native device" }).click();
        await page.locator("#naming[open]").waitFor();
        await page.locator("#device-name").fill("Desk");
        await check("naming");
        await page.keyboard.press("Enter");
        await page.locator("#devices .name", { hasText: "Desk" }).waitFor();
        await picture(page.locator(".timeline"), "timeline");
        await board.card("Trains").getByLabel("Done").uncheck();
        await native.until(async () => (await notesOf(native)).every(note => note.title !== "Trains" || !note.done));
        quiet(board);
      });
    }
  });
}
