// The demo without a screen: a Chromium, a Firefox and a native device share a vault through a relay on this machine,
// edit the same notes while apart, and have the same when they are together again. Chromium comes in by an invite, Firefox
// by a code that Chromium shows. Ends with 0 if they have.
//
//   scripts/page headless

import { nativeHas, notesOf } from "../tests/npm/browser/board.mjs";
import { PairBoard } from "../tests/npm/browser/pairs.mjs";
import { BROWSERS } from "../tests/npm/browser/support.mjs";
import { makeVault, scratch, startDevice, startRelay, startServer } from "./stage.mjs";

const say = text => console.log(`== ${text}`);
const names = { chromium: "Chromium", firefox: "Firefox" };

const { folder, remove } = await scratch("demo");
const ends = [remove];
let interrupted = false;

async function demo() {
  say("a relay, a native device with a new vault, and the page");
  const relay = await startRelay(`${folder}/relay`);
  ends.push(() => relay.end());
  await makeVault(`${folder}/device`);
  const native = await startDevice(`${folder}/device`, relay.address);
  ends.push(() => native.end());
  const server = await startServer({ relay: relay.address, device: `${folder}/device` });
  ends.push(() => server.end());

  const context = async name => {
    const browser = await BROWSERS[name]();
    ends.push(() => browser.close());
    return browser.newContext();
  };
  const { address } = server.first;
  say("Chromium opens the page and joins the vault");
  const chromium = await PairBoard.open(await context("chromium"), address, { joined: true });
  say("Firefox opens the page, and pairs with Chromium by a code");
  const firefox = await PairBoard.open(await context("firefox"), `${address}?alone`);
  const code = await chromium.showCode();
  await firefox.type(code);
  const words = await firefox.words();
  say(`  the code is ${code}; both show ${words.join(", ")}`);
  if ((await chromium.words()).join() !== words.join()) throw new Error("the words differ");
  await Promise.all([chromium.match(), firefox.match()]);
  await Promise.all([chromium.connected(), firefox.connected()]);
  await firefox.says(/^In sync with 2/);
  const boards = { chromium, firefox };
  const edit = (id, ...ops) => native.ask("put", { type: "note", entity: id, ops });

  say("each writes a note, and all three have all of them");
  const { entities: [shared] } = await edit(null, { set: ["title", "Journey"] }, { set: ["place", 1] }, { text_insert: ["text", 0, "by train"] });
  await chromium.showsTitles("Journey");
  await chromium.add({ title: "Written in Chromium", text: "milk", colour: "green" });
  await firefox.showsTitles("Journey", "Written in Chromium");
  await firefox.add({ title: "Written in Firefox", text: "bread", tags: ["shop"] });
  const titles = ["Journey", "Written in Chromium", "Written in Firefox"];
  for (const board of [chromium, firefox]) await board.showsTitles(...titles);
  await native.until(async () => (await notesOf(native)).length === 3);

  say("apart: both browsers work offline, the native device is paused; all edit the note “Journey”");
  await native.ask("pause");
  for (const board of [chromium, firefox]) await board.offline(true);
  await chromium.typeInto("Journey", "(Chromium) ", "Home");
  await firefox.typeInto("Journey", " (Firefox)");
  await edit(shared, { text_insert: ["text", 3, "fast "] }, { insert: ["tags", "native"] });
  for (const [who, board] of Object.entries(boards)) {
    const { text } = (await board.cards())[0];
    say(`  ${names[who]} has “${text}”`);
  }
  say(`  the native device has “${(await notesOf(native))[0].text}”`);

  say("together again");
  const start = performance.now();
  await native.ask("resume");
  for (const board of [chromium, firefox]) await board.offline(false);
  const both = { title: "Journey", text: "(Chromium) by fast train (Firefox)", colour: "plain", tags: ["native"], done: false };
  const [, ...others] = await notesOf(native);
  await nativeHas(native, [both, ...others]);
  for (const board of [chromium, firefox]) await board.shows([both, ...others]);
  say(`  all three have “${both.text}” after ${((performance.now() - start) / 1000).toFixed(1)} s`);

  const digests = { "native device": await native.digest() };
  for (const [who, board] of Object.entries(boards)) digests[names[who]] = await board.digest();
  for (const [who, digest] of Object.entries(digests)) say(`${who.padEnd(13)} ${digest}`);
  if (new Set(Object.values(digests)).size !== 1) throw new Error("the digests differ");
  say("equal: all three devices show the same notes");
}

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, () => { interrupted = true; void end(130); });
}

async function end(code) {
  for (const one of ends.splice(0).reverse()) await one().catch(() => {});
  process.exit(code);
}

await demo().then(() => end(0), error => {
  if (interrupted) return;
  console.error(`demo: ${error.message}`);
  return end(1);
});
