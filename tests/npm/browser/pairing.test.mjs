// Two devices that have never met, one of them or both the notes board in a browser, come to share a vault by a code,
// through a real relay.
import assert from "node:assert/strict";
import test from "node:test";
import { command, makeVault } from "../../../scripts/stage.mjs";
import { quiet } from "./board.mjs";
import { BOTH, pair, same, stage, twoBoards, wrong } from "./pairs.mjs";
import { BROWSERS, launch } from "./support.mjs";

for (const name of Object.keys(BROWSERS)) {
  test(`pairing on the notes board in ${name}`, async test => {
    const browser = await launch(test, name);
    const strangers = test => twoBoards(test, browser);

    await test.test("six digits and a relay's number, typed carelessly", async test => {
      const { host, guest } = await strangers(test);
      const code = await host.showCode();
      assert.match(code, /^\d{4}-\d{6}$/);
      await guest.type(` ${code.replace("-", " — ").replace(/(\d{3})$/, " $1")} `);
      const words = await guest.words();
      assert.equal(words.length, 4);
      assert.deepEqual(await host.words(), words);
      assert.deepEqual([await host.page.locator("#pair-roles").isVisible(), await guest.page.locator("#pair-roles").isVisible()], [true, false]);
      assert.match(await guest.dialog.innerText(), /The other device is “(Chrome|Firefox) on Linux”, a browser/);
      await guest.match();
      await guest.hears(/^Waiting until “.*” says that they match, too/);
      await host.match();
      await Promise.all([host.connected(), guest.connected()]);
      await same([host, guest], BOTH);
      await host.device(/./).getByText(/^Member · Online, through a relay/).waitFor();
      await guest.device(/./).getByText(/^Admin · Online, through a relay/).waitFor();
      assert.equal(await host.page.evaluate(() => document.activeElement.id), "show-code", "where its user was");
      quiet(host, guest);
    });

    await test.test("by keyboard alone, as a reader", async test => {
      const { host, open } = await strangers(test);
      const guest = await open(await browser.newContext());
      // A driven Firefox gives keys to the page in front.
      await host.page.bringToFront();
      await host.page.locator("#show-code").press("Enter");
      const code = await host.code();
      assert.equal(await host.page.evaluate(() => document.activeElement.querySelector(".hidden").textContent),
        `Code: ${code.split("-").map(part => [...part].join(" ")).join(", ")}`);
      await guest.page.bringToFront();
      await guest.page.locator("#type-code").press("Enter");
      await guest.page.keyboard.type(`${code}\n`);
      for (const board of [host, guest]) {
        await board.words();
        assert.equal(await board.page.evaluate(() => document.activeElement.id), "pair-words");
      }
      // The role, then both answers.
      for (const [board, keys] of [[host, ["Tab", "ArrowDown", "ArrowDown", "Tab", "Tab", "Enter"]], [guest, ["Tab", "Tab", "Enter"]]]) {
        await board.page.bringToFront();
        for (const key of keys) await board.page.keyboard.press(key);
      }
      for (const board of [host, guest]) {
        await board.hears(/share one vault now/);
        await board.page.bringToFront();
        await board.page.keyboard.press("Enter");
        await board.dialog.waitFor({ state: "hidden" });
      }
      await same([host, guest], BOTH.slice(0, 1));
      await host.device(/./).getByText(/^Read only · Online/).waitFor();
      quiet(host, guest);
    });

    await test.test("whoever has notes cannot come in as one that reads only, and both are told so", async test => {
      const { host, guest } = await strangers(test);
      await guest.type(await host.showCode());
      await Promise.all([host.words(), guest.words()]);
      await host.dialog.getByRole("radio", { name: "Read only" }).check();
      await Promise.all([host.match(), guest.match()]);
      await host.hears(/^The other device has notes of its own, and could not bring them along as Read only/);
      await guest.hears(/^This device has notes of its own, and could not bring them along as Read only/);
      await guest.button("Close").click();
      await guest.showsTitles("Of the second");
      await host.button("Close").click();
      assert.equal(await host.page.locator("#devices .remove").count(), 0, "it was not signed in");
      await pair(host, guest);
      await same([host, guest], BOTH);
      quiet(host, guest);
    });

    await test.test("by a link, pasted or opened, which does not stay in the address", async test => {
      const { host, guest, open, address } = await strangers(test);
      await host.showCode();
      assert.match(await host.page.locator("#pair-picture").getAttribute("src"), /^data:image\/svg/);
      assert.ok(await host.page.locator("#pair-picture").evaluate(image => image.decode().then(() => image.naturalWidth > 100)));
      const link = await host.page.locator("#pair-link").inputValue();
      assert.ok(link.startsWith(`${address}#pair=privstack:pair?v=1&`));
      await guest.type(link.slice(link.indexOf("privstack:")));
      assert.deepEqual(await guest.words(), await host.words());
      await Promise.all([host.match(), guest.match()]);
      await Promise.all([host.connected(), guest.connected()]);

      const third = await open(await browser.newContext());
      await host.showCode();
      await third.page.goto(await host.page.locator("#pair-link").inputValue());
      assert.deepEqual(await third.words(), await host.words());
      assert.equal(third.page.url(), address);
      await Promise.all([host.match(), third.match()]);
      await Promise.all([host.connected(), third.connected()]);
      await same([host, guest, third], BOTH);
      quiet(host, guest, third);
    });

    await test.test("a native device shows a code, the browser types it", async test => {
      const { folder, open, command: run, device } = await stage(test);
      await makeVault(`${folder}/desk`, "Desk");
      await command(`${folder}/desk`, "put", "note", "title=On the desk");
      const board = await open(await browser.newContext());
      await board.add({ title: "In the browser" });
      const shows = run("desk");
      await board.type((await shows.says("code", ({ code }) => /^\d{4}-/.test(code))).code);
      assert.deepEqual(await board.words(), (await shows.says("found")).words);
      await board.match();
      await board.connected();
      await shows.says("paired");
      await shows.ended;
      const native = await device("desk");
      await board.device("Desk").getByText(/^Admin · Online/).waitFor();
      await same([board], ["On the desk", "In the browser"], native);
      quiet(board);
    });

    await test.test("the browser shows a code, a native device types it", async test => {
      const { folder, open, command: run, device } = await stage(test);
      const board = await open(await browser.newContext());
      await board.add({ title: "In the browser" });
      const joins = run("laptop", await board.showCode(), "--name", "Laptop");
      assert.deepEqual((await joins.says("found")).words, await board.words());
      assert.match(await board.dialog.innerText(), /The other device is “Laptop”, a computer/);
      await board.match();
      await board.connected();
      await joins.says("paired");
      await joins.ended;
      const native = await device("laptop");
      await command(`${folder}/laptop`, "put", "note", "title=On the laptop", "place=9999");
      await board.device("Laptop").getByText(/^Member · Online/).waitFor();
      await same([board], ["In the browser", "On the laptop"], native);
      quiet(board);
    });

    await test.test("what is no code, and wrong codes, which burn the right one; the next one does it", async test => {
      const { host, guest } = await strangers(test);
      await guest.type("12 34");
      await guest.hears(/^That is no code\. One looks like 4821-482951/);
      assert.equal(await guest.page.locator("#pair-typed").getAttribute("aria-invalid"), "true");
      assert.equal(await guest.page.evaluate(() => document.activeElement.id), "pair-typed");
      const code = await host.showCode();
      await guest.retype(wrong(code));
      await guest.hears(/^That is not the code that the other device shows/);
      await guest.button("Type a code").click();
      await guest.retype(wrong(code));
      await guest.hears(/^That is not the code that the other device shows/);
      await guest.button("Type a code").click();
      await guest.retype(wrong(code));
      await guest.hears(/^That code was used already, or typed wrongly three times/);
      const next = await host.code(code);
      await host.hears(/^There is a new code/);
      await guest.button("Type a code").click();
      await guest.retype(code);
      await guest.hears(/That code|That is not the code/);
      await guest.button("Type a code").click();
      await guest.retype(await host.code().then(now => now ?? next));
      assert.deepEqual(await guest.words(), await host.words());
      await Promise.all([host.match(), guest.match()]);
      await Promise.all([host.connected(), guest.connected()]);
      await same([host, guest], BOTH);
      quiet(host, guest);
    });

    await test.test("words that do not match, and devices that give up: nothing is trusted on either side", async test => {
      const { host, guest } = await strangers(test);
      const apart = async () => {
        for (const [board, title] of [[host, BOTH[0]], [guest, BOTH[1]]]) {
          assert.equal(await board.page.locator("#devices li").count(), 1);
          await board.showsTitles(title);
        }
        assert.notEqual(await host.digest(), await guest.digest());
      };
      await guest.type(await host.showCode());
      await Promise.all([host.words(), guest.words()]);
      await guest.match();
      await host.button("They do not match").click();
      await host.hears(/^Nothing was shared\. If the words differ/);
      await guest.hears(/^The other device says that the words do not match\. Nothing was shared\./);
      await apart();

      await host.button("Show a new code").click();
      await guest.button("Type a code").click();
      await guest.retype(await host.code());
      await Promise.all([host.words(), guest.words()]);
      await guest.page.keyboard.press("Escape");
      await guest.dialog.waitFor({ state: "hidden" });
      await host.hears(/Nothing was shared\.$/);
      await apart();

      await host.button("Show a new code").click();
      const code = await host.code();
      await host.button("Cancel").click();
      await guest.type(code);
      await guest.hears(/^(The other device cannot be reached|That code has run out|The other device has given up)/);
      await guest.button("Close").click();
      await guest.page.getByLabel("Work offline").check();
      await guest.type(code);
      await guest.hears(/^“Work offline” is switched on/);
      await apart();
      quiet(host, guest);
    });

    await test.test("a relay that is asked for too many numbers makes its user wait, and says so", async test => {
      const { open } = await stage(test);
      const guest = await open(await browser.newContext());
      const tries = async () => {
        await guest.button("Type a code").waitFor();
        return guest.dialog.locator("#pair-says").textContent();
      };
      await guest.type("1000-123456");
      let outcome = await tries();
      for (let n = 0; n < 12 && /^That code has run out or was replaced/.test(outcome); n += 1) {
        await guest.button("Type a code").click();
        await guest.retype("1000-123456");
        outcome = await tries();
      }
      assert.match(outcome, /^Too many codes were looked up at the relay just now; wait a minute/);
      quiet(guest);
    });

    await test.test("fifteen wrong codes lock it, until its user unlocks it", async test => {
      const { host, guest } = await strangers(test);
      // Links with another secret: a relay looks up few numbers a minute for one device.
      const wrongLink = async () => (await host.page.locator("#pair-link").inputValue()).replace(/s=[0-9a-f]{32}/, `s=${"5".repeat(32)}`);
      let code = await host.showCode();
      await guest.type(await wrongLink());
      let burned = 0;
      for (;;) {
        await guest.button("Type a code").waitFor();
        const outcome = await guest.dialog.locator("#pair-says").textContent();
        if (/takes no codes any more/.test(outcome)) break;
        assert.match(outcome, /^That (is not the code|code was used already)/);
        if (/used already/.test(outcome)) {
          burned += 1;
          code = await host.code(code);
        }
        await guest.button("Type a code").click();
        await guest.retype(await wrongLink());
      }
      assert.equal(burned, 4, "the fifth locks it");
      await host.hears(/^Five codes were typed wrongly/);
      await host.button("Unlock").click();
      await guest.button("Type a code").click();
      await guest.retype(await host.code());
      assert.deepEqual(await guest.words(), await host.words());
      await Promise.all([host.match(), guest.match()]);
      await Promise.all([host.connected(), guest.connected()]);
      await same([host, guest], BOTH);
      quiet(host, guest);
    });

    await test.test("in a tab that follows; and a code whose engine goes with another tab ends with a reason", async test => {
      const { host, guest, open } = await strangers(test);
      const leader = guest;
      const follower = await open(guest.page.context());
      await follower.page.getByText("Another tab does the syncing").waitFor();
      const code = await follower.showCode();
      await leader.page.close();
      await follower.hears(/^The connection was cut off, as the tab of this browser that did the syncing has closed/);
      await host.type(code);
      await host.hears(/^(The other device cannot be reached|That code has run out|The other device has given up)/);
      await follower.button("Show a new code").click();
      // The page of a new tab leads no more than before.
      const another = await open(follower.page.context());
      await host.button("Type a code").click();
      await host.retype(await follower.code());
      assert.deepEqual(await host.words(), await follower.words());
      await Promise.all([host.match(), follower.match()]);
      await Promise.all([host.connected(), follower.connected()]);
      await same([host, follower, another], BOTH);

      // The tab that follows types, too.
      const third = await open(await browser.newContext());
      await another.page.getByText("Another tab does the syncing").waitFor();
      await another.type(await third.showCode());
      assert.deepEqual(await another.words(), await third.words());
      await Promise.all([third.match(), another.match()]);
      await Promise.all([third.connected(), another.connected()]);
      await same([host, follower, another, third], BOTH);
      quiet(host, follower, another, third);
    });
  });
}
