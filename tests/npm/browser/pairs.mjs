// Devices in vaults of their own that meet by a code: the notes board as its user pairs it, and the command line.
import assert from "node:assert/strict";
import { pairCommand, scratch, startDevice, startRelay, startServer } from "../../../scripts/stage.mjs";
import { Board } from "./board.mjs";

/** A relay and the server of the page, which lets nobody in by itself; until the test ends. */
export async function stage(test) {
  const { folder, remove } = await scratch("pairing");
  const relay = await startRelay(`${folder}/relay`);
  const server = await startServer({ relay: relay.address });
  const ends = [];
  test.after(async () => {
    for (const end of ends.reverse()) await end();
    for (const one of [server, relay]) await one.end();
    await remove();
  });
  return {
    relay, address: server.first.address, folder,
    open: async context => PairBoard.open(context, server.first.address, { joined: false }),
    /** Runs the native device in that folder. */
    device: async name => {
      const device = await startDevice(`${folder}/${name}`, relay.address);
      ends.push(() => device.end());
      return device;
    },
    /** `privstack pair` on the native device in that folder. */
    command: (name, ...args) => {
      const pairing = pairCommand(`${folder}/${name}`, relay.address, ...args);
      ends.push(() => pairing.end());
      return pairing;
    },
  };
}

/** The notes board in hands that pair it. */
export class PairBoard extends Board {
  static async open(context, address, options) {
    const board = new PairBoard(await context.newPage());
    await board.page.goto(address);
    await board.ready();
    if (options?.joined) await board.says(/^In sync with/);
    return board;
  }

  get dialog() {
    return this.page.locator("#pairing");
  }

  button(name) {
    return this.dialog.getByRole("button", { name, exact: true });
  }

  /** Shows a code; gives it. */
  async showCode() {
    await this.page.getByRole("button", { name: "Show a code", exact: true }).first().click();
    return this.code();
  }

  /** The code that is shown, once there is one, and not this one. */
  async code(before = "") {
    const shown = this.dialog.locator("#pair-code .shown");
    await this.page.waitForFunction(before => {
      const code = document.querySelector("#pair-code .shown");
      return code.checkVisibility() && code.textContent !== "" && code.textContent !== before;
    }, before).catch(error => this.#explain(error));
    return shown.textContent();
  }

  async type(code) {
    await this.page.getByRole("button", { name: "Type a code", exact: true }).first().click();
    await this.retype(code);
  }

  async retype(code) {
    await this.dialog.locator("#pair-typed").fill(code);
    await this.page.keyboard.press("Enter");
  }

  /** The four words, once both sides have them. */
  async words() {
    await this.button("They match").waitFor().catch(error => this.#explain(error));
    return this.dialog.locator("#pair-words li").allTextContents();
  }

  async match() {
    await this.button("They match").click();
  }

  async connected() {
    await this.dialog.getByRole("heading", { name: "Connected", exact: true }).waitFor().catch(error => this.#explain(error));
    await this.button("Close").click();
    await this.dialog.waitFor({ state: "hidden" });
  }

  /** Waits until the dialog says so. */
  async hears(words) {
    await this.dialog.locator("#pair-says", { hasText: words }).waitFor().catch(error => this.#explain(error));
  }

  /** Another device, as its line says. */
  device(name) {
    return this.page.locator("#devices li").filter({ has: this.page.locator(".name", { hasText: name }) });
  }

  /** Gives the device with that id a name on this board. */
  async call(id, name) {
    const line = this.page.locator(`#devices li[data-id="${id}"]`);
    await line.getByRole("button", { name: /^Rename/ }).click();
    await this.page.locator("#device-name").fill(name);
    await this.page.keyboard.press("Enter");
    await this.device(name).waitFor();
  }

  async giveRole(name, role) {
    await this.device(name).getByRole("button", { name: `Role ${name}` }).click();
    await this.page.locator("#role-dialog").getByRole("radio", { name: role }).check();
    await this.page.getByRole("button", { name: "Save the role" }).click();
    await this.page.locator("#role-dialog").waitFor({ state: "hidden" });
  }

  async remove(name) {
    await this.device(name).getByRole("button", { name: `Remove ${name}` }).click();
    await this.page.locator("#removing[open]").waitFor();
    await this.page.getByRole("button", { name: "Remove the device" }).click();
  }

  async #explain(error) {
    assert.fail(`${error.message}\n${await this.page.locator("body").innerText()}\n${this.complaints}`);
  }
}

/** The notes of `twoBoards`. */
export const BOTH = ["Of the first", "Of the second"];

/** Two boards that have a note each, and no vault in common. */
export async function twoBoards(test, browser) {
  const place = await stage(test);
  const [host, guest] = [await place.open(await browser.newContext()), await place.open(await browser.newContext())];
  for (const [at, board] of [host, guest].entries()) await board.add({ title: BOTH[at] });
  return { ...place, host, guest };
}

/** Another last digit. */
export const wrong = code => code.slice(0, -1) + ((Number(code.slice(-1)) + 1) % 10);

/** Pairs two boards by a typed code, as their users do. */
export async function pair(host, guest, role) {
  await guest.type(await host.showCode());
  assert.deepEqual(await guest.words(), await host.words());
  if (role) await host.dialog.getByRole("radio", { name: role }).check();
  await Promise.all([host.match(), guest.match()]);
  await Promise.all([host.connected(), guest.connected()]);
}

/** All show these titles, and what is shown is the same. */
export async function same(boards, titles, native) {
  for (const board of boards) await board.showsTitles(...titles);
  const wanted = await boards[0].digest();
  for (const board of boards) assert.equal(await board.digest(), wanted);
  if (native) await native.until(async () => (await native.digest()) === wanted, "the digest of the browsers");
}
