// What devices may do in a vault, on the notes board, through a real relay: one that is removed gets nothing new, one that
// may only read says so, and what was written before it heard of that is not lost.
import assert from "node:assert/strict";
import test from "node:test";
import { quiet } from "./board.mjs";
import { BOTH, pair, same, twoBoards } from "./pairs.mjs";
import { BROWSERS, launch } from "./support.mjs";

for (const name of Object.keys(BROWSERS)) {
  test(`rights on the notes board in ${name}`, async test => {
    const browser = await launch(test, name);
    const strangers = test => twoBoards(test, browser);

    await test.test("a browser that is removed gets nothing new and says so; by a code it comes back", async test => {
      const { host, guest, open } = await strangers(test);
      const third = await open(await browser.newContext());
      await pair(host, guest);
      await pair(host, third);
      await same([host, guest, third], BOTH);
      // All have the same name: each device has one of its own on this board.
      const ids = await Promise.all([guest, third].map(board => board.page.evaluate(() => document.getElementById("own-id").textContent)));
      await host.call(ids[0], "Guest");
      await host.call(ids[1], "Third");

      // Members may not.
      await third.call(ids[0], "Guest");
      await third.page.getByText("Your Admin devices remove devices, and say what each may do.").waitFor();
      assert.equal(await third.page.locator("#devices").getByRole("button", { name: /^(Remove|Role)/ }).count(), 0);

      await host.remove("Guest");
      await host.device("Guest").waitFor({ state: "detached" });
      await host.page.locator("#toast", { hasText: "“Guest” is removed." }).waitFor();
      await guest.page.locator("#gone", { hasText: "This device is not in your vault any more." }).waitFor();
      await guest.says("Not in the vault any more");
      await host.add({ title: "Not for the guest" });
      await same([host, third], [...BOTH, "Not for the guest"]);
      await guest.showsTitles(...BOTH);
      assert.ok(await guest.page.locator("#add").isDisabled());
      await guest.edit("Of the first");
      await guest.page.locator("#note-locked", { hasText: "This device was removed from your vault" }).waitFor();
      assert.ok(await guest.page.locator("#note-text").evaluate(area => area.readOnly && area.value === ""));
      await guest.closeEditor();
      await guest.page.locator("#reasons", { hasText: "it is not, or no longer, one of your devices" }).waitFor();

      // One that is away meanwhile hears it when it comes back.
      await third.page.getByLabel("Work offline").check();
      await third.says(/^Working offline/);
      await host.remove("Third");
      await host.device("Third").waitFor({ state: "detached" });
      await third.page.getByLabel("Work offline").uncheck();
      await third.page.locator("#gone", { hasText: "This device is not in your vault any more." }).waitFor();
      await third.page.locator("#gone-type").click();
      await third.retype(await host.showCode());
      await Promise.all([host.words(), third.words()]);
      await Promise.all([host.match(), third.match()]);
      await Promise.all([host.connected(), third.connected()]);
      await third.page.locator("#gone").waitFor({ state: "hidden" });

      await guest.page.locator("#gone-type").click();
      await guest.retype(await host.showCode());
      assert.deepEqual(await guest.words(), await host.words());
      await Promise.all([host.match(), guest.match()]);
      await Promise.all([host.connected(), guest.connected()]);
      await guest.page.locator("#gone").waitFor({ state: "hidden" });
      await guest.showsTitles(...BOTH, "Not for the guest");
      await guest.add({ title: "Back" });
      for (const board of [host, third]) await board.showsTitles(...BOTH, "Not for the guest", "Back");
      await same([host, guest, third], [...BOTH, "Not for the guest", "Back"]);
      quiet(host, guest, third);
    });

    await test.test("an Admin says what a device may do; one that may only read shows that at once, and comes back", async test => {
      const { host, guest } = await strangers(test);
      await pair(host, guest);
      await same([host, guest], BOTH);
      const id = await guest.page.evaluate(() => document.getElementById("own-id").textContent);
      await host.call(id, "Guest");
      assert.equal(await guest.page.locator("#devices .role:visible").count(), 0, "a Member gives no roles");
      const setRole = role => host.giveRole("Guest", role);
      const isReadOnly = () => guest.page.evaluate(() => ["note-title", "note-text", "note-tag"].every(id => document.getElementById(id).readOnly)
        && ["note-colour-set", "note-done", "add-tag", "note-delete", "add"].every(id => document.getElementById(id).disabled));

      await guest.edit("Of the first");
      await guest.page.locator("#note-text").pressSequentially("saved. ");
      // What the Admin's device has counts; what is on its way as the right goes does not.
      await host.page.waitForFunction(() => [...document.querySelectorAll(".card .text")].some(text => text.textContent === "saved. "));
      await setRole("Read only");
      await host.page.locator("#toast", { hasText: "“Guest” is “Read only” now." }).waitFor();
      await guest.page.locator("#note-locked", { hasText: "This device may only read" }).waitFor();
      assert.ok(await isReadOnly());
      assert.equal(await guest.page.locator("#note-text").inputValue(), "saved. ");
      await guest.page.locator("#note-text").selectText();
      assert.equal(await guest.page.evaluate(() => getSelection().toString()), "saved. ", "it can be copied");
      await guest.closeEditor();
      await guest.page.locator("#reading").waitFor();
      assert.ok(await guest.page.locator("#save-copy").isEnabled());
      assert.ok(await guest.card("Of the first").getByLabel("Done").isDisabled());
      assert.equal(await guest.page.locator(".move:visible").count(), 0);
      await host.typeInto("Of the first", "More of the host.");
      await guest.edit("Of the first");
      await guest.page.waitForFunction(() => document.getElementById("note-text").value === "saved. More of the host.");

      // It comes back while the note is open.
      await setRole("Member");
      await guest.page.locator("#note-locked").waitFor({ state: "hidden" });
      assert.ok(!(await isReadOnly()) && await guest.page.locator("#note-delete").isEnabled());
      await guest.page.locator("#note-text").press("Control+End");
      await guest.page.keyboard.type(" And of the guest.");
      await host.page.waitForFunction(() => [...document.querySelectorAll(".card .text")].some(text => text.textContent === "saved. More of the host. And of the guest."));
      await guest.closeEditor();
      await same([host, guest], BOTH);

      // What is saved is not kept beside that, a title as little as a text.
      await guest.edit("Of the second");
      await guest.page.locator("#note-title").fill("Of the 2nd");
      await host.card("Of the 2nd").waitFor();
      await setRole("Read only");
      await guest.page.locator("#note-locked", { hasText: "This device may only read" }).waitFor();
      await same([host, guest], [BOTH[0], "Of the 2nd"]);
      assert.ok(await guest.page.locator("#note-kept").isHidden() && await guest.page.locator("#kept").isHidden());
      quiet(host, guest);
    });

    await test.test("what was written before a device heard that it may only read is shown, asked for, and comes back whole", async test => {
      const { host, guest } = await strangers(test);
      await pair(host, guest);
      await same([host, guest], BOTH);
      const id = await guest.page.evaluate(() => document.getElementById("own-id").textContent);
      await host.call(id, "Guest");
      const setRole = role => host.giveRole("Guest", role);
      const hasText = (board, title, text) => board.page.waitForFunction(([title, text]) => [...document.querySelectorAll(".card")]
        .some(card => card.querySelector(".title").textContent === title && card.querySelector(".text").textContent === text.slice(0, 400)), [title, text]);
      const offline = guest.page.getByRole("switch", { name: "Work offline" });
      const dialog = board => board.page.getByRole("dialog", { name: "Not among the notes" });
      /** Away from the network meanwhile, so that nothing hangs on a moment. */
      const meanwhile = async write => {
        await offline.check();
        await guest.page.locator("#sync-words", { hasText: "Working offline" }).waitFor();
        await write();
        await guest.page.evaluate(() => new Promise(requestAnimationFrame));
        await setRole("Read only");
        await offline.uncheck();
        await guest.page.locator("#reading").waitFor();
      };

      await guest.typeInto("Of the first", "shared. ");
      await hasText(host, "Of the first", "shared. ");
      await meanwhile(async () => {
        await guest.typeInto("Of the first", "And late.");
        await guest.add({ title: "Of the guest", text: "New, and late." });
      });
      await hasText(guest, "Of the first", "shared. ");
      await guest.page.locator("#left-out", { hasText: "What you wrote last in 2 notes is not among the notes" }).waitFor();
      await guest.page.getByRole("button", { name: "Show it" }).click();
      const items = await dialog(guest).locator("li").evaluateAll(all => all.map(item => [item.querySelector("strong").textContent, item.querySelector(".left-out-text").textContent]));
      assert.deepEqual(items.sort(), [["Of the first", "shared. And late."], ["Of the guest", "New, and late."]]);
      await dialog(guest).getByRole("button", { name: "Ask an Admin to take it in" }).click();
      await dialog(guest).getByText("Your Admin devices are asked to take it in.").waitFor();
      await dialog(guest).getByRole("button", { name: "Close" }).click();
      await host.page.locator("#left-out", { hasText: "“Guest” wrote in 2 notes after it lost the right to, and before it heard of that. It is kept, and not among the notes. You are asked to take it in." }).waitFor();

      // It may write again, and puts it in itself.
      await setRole("Member");
      await guest.page.locator("#reading").waitFor({ state: "hidden" });
      await guest.page.getByRole("button", { name: "Show it" }).click();
      await dialog(guest).getByRole("button", { name: "Put it into the notes" }).click();
      await dialog(guest).waitFor({ state: "hidden" });
      for (const board of [host, guest]) {
        await hasText(board, "Of the first", "shared. And late.");
        await hasText(board, "Of the guest", "New, and late.");
        await board.page.locator("#left-out").waitFor({ state: "hidden" });
      }

      // Or an Admin takes it in.
      await meanwhile(() => guest.typeInto("Of the first", " More."));
      await host.page.getByRole("button", { name: "Show it" }).click();
      await dialog(host).getByRole("button", { name: "Take it into the notes" }).click();
      await dialog(host).waitFor({ state: "hidden" });
      for (const board of [host, guest]) {
        await hasText(board, "Of the first", "shared. And late. More.");
        await board.page.locator("#left-out").waitFor({ state: "hidden" });
      }
      await setRole("Member");
      await guest.page.locator("#reading").waitFor({ state: "hidden" });

      // Typed without a pause while the role is taken: some of it the store has refused, some had not come to the Admin.
      await guest.edit("Of the guest");
      await guest.page.evaluate(() => {
        const area = document.getElementById("note-text");
        const type = () => {
          if (area.readOnly) return;
          area.value += globalThis.typedTimes++ % 7 === 6 ? " " : "abcdef"[globalThis.typedTimes % 6];
          globalThis.typedLast = area.value;
          area.dispatchEvent(new InputEvent("input", { bubbles: true }));
          setTimeout(type, 10);
        };
        globalThis.typedTimes = 0;
        area.setSelectionRange(area.value.length, area.value.length);
        type();
      });
      await guest.page.waitForFunction(() => globalThis.typedTimes > 20);
      await setRole("Read only");
      await guest.page.locator("#note-locked", { hasText: "This device may only read" }).waitFor();
      await guest.page.locator("#note-kept").waitFor();
      const last = await guest.page.evaluate(() => globalThis.typedLast);
      await guest.closeEditor();
      await setRole("Member");
      await guest.page.locator("#reading").waitFor({ state: "hidden" });
      // What was only refused comes back by itself.
      const isWhole = () => guest.page.evaluate(last => [...document.querySelectorAll(".card .text")].some(text => text.textContent === last.slice(0, 400)), last);
      const button = guest.page.getByRole("button", { name: "Show it" });
      while (!(await isWhole()) && !(await button.isVisible())) await guest.page.evaluate(() => new Promise(requestAnimationFrame));
      if (await button.isVisible()) {
        await button.click();
        await dialog(guest).getByRole("button", { name: "Put it into the notes" }).click();
        await dialog(guest).waitFor({ state: "hidden" });
      }
      for (const board of [host, guest]) await hasText(board, "Of the guest", last);
      assert.equal(await guest.page.evaluate(() => Object.keys(localStorage).filter(key => key.startsWith("notes-board unsaved")).length), 0);
      await same([host, guest], [...BOTH, "Of the guest"]);
      quiet(host, guest);
    });
  });
}
