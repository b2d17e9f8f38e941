// How the notes board looks, light, dark and on a phone: pictures in target/screenshots, and no rule of axe is broken.
import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import test from "node:test";
import { Board, notesOf, quiet, stage } from "./board.mjs";
import { PairBoard, stage as pairing, wrong } from "./pairs.mjs";
import { BROWSERS, launch } from "./support.mjs";

const pictures = join(import.meta.dirname, "../../../target/screenshots");
const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const LOOKS = {
  light: { colorScheme: "light", viewport: { width: 1280, height: 900 } },
  dark: { colorScheme: "dark", viewport: { width: 1280, height: 900 } },
  phone: { colorScheme: "light", viewport: { width: 360, height: 740 } },
};

/**
 * The looks that one run of a browser shows, each in turn wherever it stops. A driven Firefox takes the colours from its
 * preferences only, so dark is a run of its own there.
 */
const RUNS = {
  chromium: [{ looks: ["light", "dark", "phone"] }],
  firefox: [
    { looks: ["light", "phone"] },
    { looks: ["dark"], options: { firefoxUserPrefs: { "layout.css.prefers-color-scheme.content-override": 0 } } },
  ],
};

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

/** Pictures of what a board shows in each look; it fits, and axe finds nothing. */
const checks = (name, looks) => async (board, part, of = board.page, pictured = { fullPage: !part }) => {
  const { page } = board;
  quiet(board);
  for (const look of looks) {
    const { colorScheme, viewport } = LOOKS[look];
    await page.setViewportSize(viewport);
    if (name === "chromium") await page.emulateMedia({ colorScheme });
    assert.equal(await page.evaluate(() => matchMedia("(prefers-color-scheme: dark)").matches), colorScheme === "dark");
    await page.evaluate(() => scrollTo(0, 0)); // the bar at the top belongs there in a picture of the whole page
    await of.screenshot({ path: join(pictures, `${name}-${look}${part && `-${part}`}.png`), ...pictured });
    // Playwright styles the page for a picture; Firefox says that the page's policy forbids it.
    board.complaints.length = 0;
    if (of !== page) continue;
    assert.deepEqual(await violations(page), [], `${look} ${part}`);
    const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(wide <= room, `${part || "the board"} is ${wide} wide in ${look}, and there is room for ${room}`);
  }
};

for (const name of Object.keys(BROWSERS)) {
  test(`the look of the notes board in ${name}`, async test => {
    await mkdir(pictures, { recursive: true });
    const { native, address } = await stage(test);
    for (const note of NOTES) await native.ask("put", note);

    for (const { looks, options } of RUNS[name]) {
      await test.test(`${looks.join(", ")}: everything fits, and everybody can use it`, async test => {
        const browser = await launch(test, name, options);
        const context = await browser.newContext({ reducedMotion: "reduce" });
        const board = await Board.open(context, address);
        const { page } = board;
        const check = (part, ...of) => checks(name, looks)(board, part, ...of);

        await board.showsTitles("Shopping", "A title that is so long that it takes more than one line of its card", "Trains", "Paint the door", "Untitled");
        await board.card("Trains").getByLabel("Done").check();
        // The newest dot of the timeline tells of it.
        await page.locator(".commit.own").last().hover();
        await page.locator("#detail", { hasText: "changed the tick for done of “Trains”" }).waitFor();
        await check("");
        await board.edit("Shopping");
        await check("editor");
        await board.closeEditor();
        await page.getByRole("button", { name: "Without a code …" }).click();
        await page.locator("#own-id", { hasText: /^12D3Koo/ }).waitFor();
        await check("connect");
        await page.locator("#connecting").getByRole("button", { name: "Close" }).click();
        await page.getByRole("button", { name: "Rename Native device" }).click();
        await page.locator("#naming[open]").waitFor();
        await page.locator("#device-name").fill("Desk");
        await check("naming");
        await page.keyboard.press("Enter");
        await page.locator("#devices .name", { hasText: "Desk" }).waitFor();
        await check("timeline", page.locator(".timeline"), {});
        await board.card("Trains").getByLabel("Done").uncheck();
        await native.until(async () => (await notesOf(native)).every(note => note.title !== "Trains" || !note.done));
        quiet(board);
      });
    }
  });

  test(`the look of pairing in ${name}`, async test => {
    await mkdir(pictures, { recursive: true });
    const { open } = await pairing(test);
    // The colours are the board's, which are seen in dark in both browsers: one run is enough.
    const { looks, options } = RUNS[name][0];
    const browser = await launch(test, name, options);
    const context = () => browser.newContext({ reducedMotion: "reduce" });
    const [host, guest] = [await open(await context()), await open(await context())];
    const check = checks(name, looks);
    await guest.page.locator("#welcome").waitFor();
    await check(guest, "welcome");
    const code = await host.showCode();
    await check(host, "code");
    await guest.page.getByRole("button", { name: "Connect to my other device" }).click();
    await check(guest, "type");
    await guest.retype("12");
    await guest.hears(/^That is no code/);
    await check(guest, "type-wrong");
    await guest.retype(wrong(code));
    await guest.hears(/^That is not the code/);
    await check(guest, "failed");
    await guest.button("Type a code").click();
    await guest.retype(code);
    await Promise.all([host.words(), guest.words()]);
    await check(host, "words");
    await check(guest, "words-new");
    await guest.match();
    await guest.hears(/^Waiting until/);
    await check(guest, "waiting");
    await host.match();
    await host.hears(/share one vault now/);
    await check(host, "connected");
    await Promise.all([host.connected(), guest.connected()]);
    await host.add({ title: "Shopping", text: "Milk", tags: ["home"], colour: "yellow" });
    await guest.showsTitles("Shopping");
    await guest.offline(true);
    await guest.typeInto("Shopping", ", bread, and apples");
    await host.page.locator("#devices .role").click();
    await check(host, "role");
    await host.page.locator("#role-dialog").getByRole("radio", { name: "Read only" }).check();
    await host.page.getByRole("button", { name: "Save the role" }).click();
    await host.page.locator("#role-dialog").waitFor({ state: "hidden" });
    await guest.page.locator("#offline").uncheck();
    await guest.page.locator("#reading").waitFor();
    for (const [board, part] of [[guest, "left-out"], [host, "left-out-of-another"]]) {
      await board.page.locator("#left-out").waitFor();
      await board.page.getByRole("button", { name: "Show it" }).click();
      await board.page.locator("#left-out-dialog li").waitFor();
      await check(board, part);
      await board.page.locator("#left-out-dialog").getByRole("button", { name: "Close" }).click();
    }
    await check(guest, "reading");
    await check(guest, "reading-whole", guest.page, { fullPage: true });
    await guest.edit("Shopping");
    await check(guest, "locked");
    await guest.closeEditor();
    await host.page.locator("#devices .remove").click();
    await host.page.locator("#removing[open]").waitFor();
    await check(host, "removing");
    await host.page.getByRole("button", { name: "Remove the device" }).click();
    await guest.says("Not in the vault any more");
    await check(guest, "removed");
  });

  test(`the notes board in ${name} has a passphrase set, asks for it in each tab, changes and removes it`, async test => {
    await mkdir(pictures, { recursive: true });
    const { open } = await pairing(test);
    const { looks, options } = RUNS[name][0];
    const context = await (await launch(test, name, options)).newContext({ reducedMotion: "reduce" });
    const check = checks(name, looks);
    let [first, second] = [await open(context), await open(context)];
    const at = (board, id) => board.page.locator(`#${id}`);
    const says = (board, id, words) => at(board, id).filter({ hasText: words }).waitFor();
    const unlock = async (board, words) => {
      await at(board, "unlocking").waitFor();
      await at(board, "unlock-passphrase").fill(words);
      await at(board, "unlock-now").click();
    };
    const fill = async (board, id, ...words) => {
      for (const [n, field] of (await at(board, id).locator("input:visible").all()).entries()) await field.fill(words[n]);
    };
    await first.add({ title: "Diary", text: "Dear diary" });
    await second.showsTitles("Diary");

    await at(first, "passphrase").click();
    await check(first, "passphrase");
    await fill(first, "passphrase-dialog", "correct horse", "correct house");
    await at(first, "set-passphrase").click();
    await says(first, "passphrase-says", /do not match/);
    await check(first, "passphrase-twice");
    await fill(first, "passphrase-dialog", "correct horse", "correct horse");
    // What is being typed in another tab comes along.
    await second.edit("Diary");
    await at(second, "note-text").press("Control+End");
    await second.page.keyboard.type(", hello");
    await at(first, "set-passphrase").click();
    for (const board of [first, second]) await says(board, "sync-words", "Locked");
    await check(first, "notes-locked");
    await unlock(first, "wrong horse");
    await says(first, "unlock-says", /not the passphrase/);
    await check(first, "notes-locked-wrong");
    for (const board of [first, second]) {
      await unlock(board, "correct horse");
      await board.ready();
      await board.shows([{ title: "Diary", text: "Dear diary, hello", colour: "plain", tags: [], done: false }]);
    }

    // Nothing of the notes lies beside the store: a page that has something unsaved asks before it goes, and saves it.
    await first.edit("Diary");
    await at(first, "note-text").press("Control+End");
    const asked = first.page.waitForEvent("dialog");
    await first.page.keyboard.type("!");
    await first.page.evaluate(() => void setTimeout(() => location.reload()));
    await (await asked).dismiss();
    await second.shows([{ title: "Diary", text: "Dear diary, hello!", colour: "plain", tags: [], done: false }]);
    await first.page.waitForFunction(() => document.querySelector("#note-saved").textContent === "Saved on this device.");
    // A page in which this was asked a driven Firefox does not load again.
    await first.page.close();
    [first, second] = [second, new PairBoard(await context.newPage())];
    await second.page.goto(first.page.url());
    assert.deepEqual(await first.page.evaluate(() => Object.keys(localStorage).filter(key => key.startsWith("notes-board unsaved"))), []);
    await unlock(second, "correct horse");
    await second.shows([{ title: "Diary", text: "Dear diary, hello!", colour: "plain", tags: [], done: false }]);

    await at(first, "passphrase").click();
    await fill(first, "passphrase-dialog", "wrong horse", "new horse", "new horse");
    await at(first, "set-passphrase").click();
    await says(first, "passphrase-says", /not the passphrase/);
    await check(first, "passphrase-change");
    await fill(first, "passphrase-dialog", "correct horse", "new horse", "new horse");
    await at(first, "set-passphrase").click();
    for (const board of [first, second]) {
      await unlock(board, "new horse");
      await board.showsTitles("Diary");
    }
    await at(second, "passphrase").click();
    await fill(second, "passphrase-dialog", "new horse", "", "");
    await at(second, "remove-passphrase").click();
    for (const board of [first, second]) {
      await board.page.locator("#passphrase", { hasText: "Set a passphrase" }).waitFor();
      await board.showsTitles("Diary");
    }
    quiet(first, second);
  });
}
