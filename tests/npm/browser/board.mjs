// The notes board of www/ as a person uses it, and what has to run around it.
import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import { makeVault, scratch, startDevice, startRelay, startServer } from "../../../scripts/stage.mjs";
import { complaints } from "./support.mjs";

const LIMIT_MS = 30_000;

/** A relay, a native device with a vault, and the page that lets every browser into that vault; until the test ends. */
export async function stage(test) {
  const { folder, remove } = await scratch("board");
  const relay = await startRelay(`${folder}/relay`);
  const data = `${folder}/native device`; // people's folders have spaces
  await makeVault(data);
  const native = await startDevice(data, relay.address);
  const server = await startServer({ relay: relay.address, device: data });
  test.after(async () => {
    for (const one of [server, native, relay]) await one.end();
    await remove();
  });
  return { relay, native, server, address: server.first.address };
}

/** What a native device has, as the board shows it. */
export async function notesOf(native) {
  const entities = await native.entities("note");
  return entities.map(({ fields }) => fields).sort((a, b) => a.place - b.place).map(fields => ({
    title: fields.title || "Untitled", text: fields.text ?? "", colour: fields.colour ?? "plain",
    tags: [...(fields.tags ?? [])].sort(), done: fields.done ?? false,
  }));
}

/** Waits until the native device has exactly these notes, in this order. */
export async function nativeHas(native, wanted) {
  let last;
  await native.until(async () => isDeepStrictEqual(last = await notesOf(native), wanted))
    .catch(() => assert.deepEqual(last, wanted));
}

/** The board in a page of its own browser context: one device. */
export class Board {
  /** Opens the page, and waits until it has met the native device. */
  static async open(context, address, { joined = true } = {}) {
    const board = new Board(await context.newPage());
    await board.page.goto(address);
    await board.ready();
    if (joined) await board.says(/^In sync with/);
    return board;
  }

  constructor(page) {
    this.page = page;
    this.complaints = complaints(page);
    page.setDefaultTimeout(LIMIT_MS);
  }

  async ready() {
    await this.page.locator("#add:enabled").waitFor();
  }

  /** Waits until the state in the page's head reads so. */
  async says(words) {
    await this.page.locator("#sync-words", { hasText: words }).waitFor()
      .catch(async error => assert.fail(`${error.message}\n${await this.page.locator("body").innerText()}\n${this.complaints}`));
  }

  cards() {
    return this.page.locator("#board > .card").evaluateAll(cards => cards.map(card => ({
      title: card.querySelector(".title").textContent, text: card.querySelector(".text").textContent,
      colour: card.dataset.colour, tags: [...card.querySelectorAll(".tags li")].map(tag => tag.textContent),
      done: card.querySelector(".done").checked,
    })));
  }

  titles() {
    return this.page.locator("#board .title").allTextContents();
  }

  card(title) {
    return this.page.locator("#board > .card").filter({ has: this.page.getByText(title, { exact: true }) });
  }

  /** Waits until the board shows exactly these notes, in this order. */
  async shows(wanted) {
    await this.#until(() => this.cards(), wanted);
  }

  async showsTitles(...wanted) {
    await this.#until(() => this.titles(), wanted);
  }

  /** Looks again with every frame that the page draws. */
  async #until(read, wanted) {
    const end = performance.now() + LIMIT_MS;
    let seen = await read();
    while (!isDeepStrictEqual(seen, wanted) && performance.now() < end) {
      await this.page.evaluate(() => new Promise(requestAnimationFrame));
      seen = await read();
    }
    assert.deepEqual(seen, wanted, this.complaints.join("\n"));
  }

  async drag(title, before) {
    const [from, to] = [this.card(title), this.card(before)];
    if (this.page.context().browser().browserType().name() !== "firefox") return from.dragTo(to);
    // A driven Firefox begins a drag, and then drops nothing: the page gets a drag's events without a pointer.
    await from.evaluate((from, to) => {
      const dataTransfer = new DataTransfer();
      const tell = (target, type) => target.dispatchEvent(new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer }));
      tell(from, "dragstart");
      if (tell(to, "dragover")) throw new Error("the page takes no drop here");
      tell(to, "drop");
      tell(from, "dragend");
    }, await to.elementHandle());
  }

  async edit(title) {
    await this.card(title).locator(".open").click();
    await this.page.locator("#editor[open]").waitFor();
  }

  async closeEditor() {
    await this.page.locator("#editor").getByRole("button", { name: "Close" }).click();
    await this.page.locator("#editor").waitFor({ state: "hidden" });
  }

  async add({ title, text = "", colour, tags = [], done = false }) {
    const { page } = this;
    await page.getByRole("button", { name: "New note" }).click();
    await page.locator("#editor[open]").waitFor();
    await page.keyboard.type(title); // the title has the focus
    await page.locator("#note-text").pressSequentially(text);
    if (colour) await page.getByRole("radio", { name: colour }).check();
    for (const tag of tags) {
      await page.locator("#note-tag").pressSequentially(tag);
      await page.keyboard.press("Enter");
    }
    if (done) await page.locator("#note-done").check();
    await this.closeEditor();
  }

  /** Puts the caret at the start or at the end of a note's text and types. */
  async typeInto(title, text, at = "End") {
    await this.edit(title);
    await this.page.locator("#note-text").press(`Control+${at}`);
    await this.page.keyboard.type(text);
    await this.closeEditor();
  }

  async offline(on) {
    await this.page.locator("#offline").setChecked(on);
    await this.says(on ? /^Working offline/ : /^In sync with/);
  }

  /** The digest of what this device shows, by a second opening of its store. */
  digest() {
    return this.page.evaluate(async () => {
      const [{ open }, { app }] = await Promise.all([import("/sync/dist/index.js"), import("/model.js")]);
      const store = await open({ name: "notes-board", schema: app });
      try {
        return await store.digest();
      } finally {
        await store.close();
      }
    });
  }
}

/** All boards and the native device have the same. */
export async function alike(native, boards) {
  const notes = await notesOf(native);
  for (const board of boards) await board.shows(notes);
  const wanted = await native.digest();
  for (const board of boards) assert.equal(await board.digest(), wanted);
}

export function quiet(...boards) {
  for (const board of boards) assert.deepEqual(board.complaints, []);
}
