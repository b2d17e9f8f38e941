// Every snippet of the package's README runs, and those in TypeScript have the types that they should.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { promisify } from "node:util";
import { transform } from "esbuild";

const here = join(import.meta.dirname, "..");
const folder = join(here, "node_modules/.readme");
const run = promisify(execFile);

/** What stands around a snippet: what the text before has told of, and what shows that it did its work. */
const APP = `import { open, schema, t } from "@privstack/sync";
const app = schema({ note: { title: t.string(), done: t.boolean().default(false), tags: t.set(t.string()), body: t.text() } });
`;
const STORE = `${APP}const store = await open({ name: "readme", schema: app, storage: "memory" });
`;
/** Two stores with a network between them, and what the second does while the snippet runs on the first, or the other way. */
const TWO = `${APP}import { testPeers } from "@privstack/sync/testing";
const peers = await testPeers(2, { schema: app, apart: true });
const [host, guest] = peers.stores;
if (!host || !guest) throw new Error("two were asked for");
/** The code, once the network has given it a number. */
async function numbered(offer: import("@privstack/sync").PairingOffer): Promise<string> {
  for await (const { code } of offer.current) if (/^\\d{4}-/.test(code)) return code;
  return "";
}
`;
const AROUND = [
  {
    what: "the first lines",
    // Node has neither a network for relays (before 22) nor a disk for the store.
    change: [`relays: ["wss://relay.example"]`, `storage: "memory"`],
    after: `await store.settled();
const [shown] = notes.all().current;
if (shown?.title !== "Hello" || shown !== note) throw new Error("it is not shown");
await store.close();`,
  },
  {
    what: "Yjs",
    before: `${STORE}const note = store.collection("note").create({ title: "a" });
note.body.insert(0, "store");
setImmediate(async () => {
  if (text.toString() !== "store") throw new Error("it is not in the document: " + text.toString());
  text.insert(5, ", editor");
  if (note.body.current !== "store, editor") throw new Error("it is not in the store: " + note.body.current);
  note.body.insert(0, "the ");
  await store.settled();
  if (text.toString() !== "the store, editor") throw new Error("it did not come: " + text.toString());
  await store.close();
});
`,
    after: `console.log("the loop has ended");`,
    says: "the loop has ended",
  },
  {
    what: "showing a code",
    before: `${TWO}const store = host;
async function join(offer: import("@privstack/sync").PairingOffer) {
  const joining = await guest!.pairing.join(await numbered(offer));
  await joining.confirm();
}
`,
    change: ["// on the device that lets the other in", "const joined = join(offer);"],
    after: `if (!picture.startsWith("<svg")) throw new Error(picture);
if (peer.id !== guest.device.id || peer.role !== "member") throw new Error(JSON.stringify(peer));
await joined;
await peers.close();`,
  },
  {
    what: "typing a code",
    before: `${TWO}const store = guest;
const offer = await host.pairing.offer();
const code = await numbered(offer);
const confirmed = offer.session.then(shown => shown.confirm());
`,
    change: [`"4821-482951"`, `code`],
    after: `if (session.step.current !== "trusted" || store.peers.current[0]?.role !== "admin") throw new Error(session.step.current);
await confirmed;
await peers.close();`,
  },
  {
    what: "removal",
    before: `${APP}import { testPeers } from "@privstack/sync/testing";
const peers = await testPeers(2, { schema: app });
const [store, other] = peers.stores;
if (!store || !other) throw new Error("two were asked for");
const removed = new Promise<void>(resolve => other.status.subscribe(({ role }) => role === "removed" && resolve()));
const named = (async () => {
  for await (const all of store.peers) for (const one of all) if (one.state === "online") return one.rename("lost phone");
})();
await named;
for await (const all of store.peers) if (all[0]?.name === "lost phone") break;
`,
    after: `await removed;
await peers.close();`,
  },
  {
    what: "a policy",
    before: `${STORE}store.collection("note").create({ title: "a" });
await store.settled();
`,
    after: `for await (const policy of store.policy) if (policy.kind === "enterprise" && policy.teams["writers"]?.length === 1) break;
await store.close();`,
  },
  {
    what: "invite and join",
    before: `${STORE}const other = await open({ name: "other", schema: app, storage: "memory" });
other.collection("note").create({ title: "comes along" });
`,
    after: `await Promise.all([store.close(), other.close()]);`,
  },
  {
    what: "React",
    before: `import { open, schema, t } from "@privstack/sync";
import { Profiler } from "react";
import { act, create } from "react-test-renderer";
globalThis.IS_REACT_ACT_ENVIRONMENT = true;
${APP.slice(APP.indexOf("const app"))}`,
    change: [`name: "notes", schema: app`, `name: "notes", schema: app, storage: "memory"`],
    after: `let tree;
let drawn = () => {};
await act(async () => { tree = create(<Profiler id="notes" onRender={() => drawn()}><Notes /></Profiler>); });
const shown = () => JSON.stringify(tree.toJSON());
if (!shown().includes("Opening")) throw new Error(shown());
// Opening takes as long as the machine lets it; React itself says when it has drawn what came of it.
globalThis.IS_REACT_ACT_ENVIRONMENT = false;
while (tree.root.findAllByType(List).length === 0) await new Promise(resolve => (drawn = resolve));
globalThis.IS_REACT_ACT_ENVIRONMENT = true;
await act(async () => { tree.root.findByType(List).props.store.collection("note").create({ title: "Shown" }); });
if (!shown().includes("Shown")) throw new Error(shown());
await act(async () => tree.unmount());
`,
  },
  {
    what: "Svelte",
    before: APP,
    change: [`name: "notes", schema: app`, `name: "notes", schema: app, storage: "memory"`],
    after: `await new Promise(resolve => {
  const stop = opened.subscribe(store => { if (store) { store.collection("note").create({ title: "a" }); setImmediate(() => { stop(); resolve(undefined); }); } });
});`,
  },
  { what: "tests", before: APP, after: "" },
];

const text = await readFile(new URL("../../../pkg/README.md", import.meta.url), "utf8");
const snippets = [...text.matchAll(/^```(\w+)\n(.*?)^```$/gms)].map(([, language, code]) => ({ language, code }));

test("the README's snippets are the ones that are tested", () => assert.equal(snippets.length, AROUND.length));

const files = AROUND.slice(0, snippets.length).map(({ before = "", change, after }, at) => {
  const { language, code } = snippets[at];
  let whole = code;
  if (change) {
    assert.ok(code.includes(change[0]), `${change[0]} is in the snippet`);
    whole = code.replace(...change);
  }
  return { name: `snippet-${at}.${language}`, code: `${before}${whole}${after}\nexport {};\n` };
});

await rm(folder, { recursive: true, force: true });
await mkdir(folder, { recursive: true });
test.after(() => rm(folder, { recursive: true, force: true }));

for (const [at, { what, says }] of AROUND.entries()) {
  test(`the snippet “${what}” runs`, async () => {
    const { name, code } = files[at];
    const built = await transform(code, { loader: name.endsWith("tsx") ? "tsx" : "ts", jsx: "automatic", format: "esm", target: "node20" });
    const file = join(folder, `${name}.mjs`);
    // A store that was closed in the middle of a question may leave a timer behind.
    await writeFile(file, `${built.code}\nprocess.exit();\n`);
    const { stdout } = await run(process.execPath, [file], { timeout: 30_000 });
    if (says) assert.match(stdout, new RegExp(says));
  });
}

test("the snippets have the types that they should", async () => {
  const typed = files.filter(({ name }) => name.endsWith(".ts"));
  for (const { name, code } of typed) await writeFile(join(folder, name), code);
  await writeFile(join(folder, "tsconfig.json"), JSON.stringify({
    extends: "../../types/tsconfig.json",
    compilerOptions: { exactOptionalPropertyTypes: false, paths: {}, skipLibCheck: true, allowJs: false },
    files: [...typed.map(({ name }) => name), "node.d.ts"],
  }));
  await writeFile(join(folder, "node.d.ts"), "declare function setImmediate(run: () => void): void;\n");
  await run(join(here, "node_modules/.bin/tsc"), ["-p", folder]).catch(({ stdout, message }) => assert.fail(stdout || message));
});
