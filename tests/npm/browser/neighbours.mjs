// A page of a test with the package below it, and a native device that it meets through a relay.
import { join } from "node:path";
import { makeVault, scratch, startDevice, startRelay } from "../../../scripts/stage.mjs";
import { complaints, serve } from "./support.mjs";

const installed = join(import.meta.dirname, "../node_modules/@privstack/sync");

/** A blank page with the package below it, until the test ends. */
export async function blank(test) {
  return `${await serve(test, import.meta.dirname, { "/sync/": installed })}/blank.html`;
}

export async function openTab(context, address, options) {
  const page = await context.newPage();
  page.heard = complaints(page);
  await page.goto(address);
  await begin(page, options);
  return page;
}

export const begin = (page, options) => page.evaluate(async options => (await import("/page.mjs")).begin(options), options);

/** A relay and a native device in a vault, until the test ends. `fill` writes into the vault before. */
export async function neighbours(test, fill = async () => {}) {
  const { folder, remove } = await scratch("faults");
  const around = { relay: await startRelay(`${folder}/relay`), again: async () => (around.relay = await startRelay(`${folder}/relay`, around.relay.first)) };
  await makeVault(`${folder}/device`);
  await fill(`${folder}/device`, folder);
  around.native = await startDevice(`${folder}/device`, around.relay.address);
  around.letIn = async page => {
    const { invite } = await around.native.ask("invite", { peer: await page.evaluate(() => store.device.id) });
    return invite;
  };
  test.after(async () => {
    for (const one of [around.native, around.relay]) await one.end();
    await remove();
  });
  return around;
}
