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
    what: "invite and join",
    before: `${STORE}const other = await open({ name: "other", schema: app, storage: "memory" });
other.collection("note").create({ title: "comes along" });
`,
    after: `await Promise.all([store.close(), other.close()]);`,
  },
  {
    what: "React",
    before: `import { open, schema, t } from "@privstack/sync";
import { act, create } from "react-test-renderer";
globalThis.IS_REACT_ACT_ENVIRONMENT = true;
${APP.slice(APP.indexOf("const app"))}`,
    change: [`name: "notes", schema: app`, `name: "notes", schema: app, storage: "memory"`],
    after: `let tree;
await act(async () => { tree = create(<Notes />); });
const shown = () => JSON.stringify(tree.toJSON());
if (!shown().includes("Opening")) throw new Error(shown());
const isList = () => tree.root.findAllByType(List).length > 0;
for (let turn = 0; turn < 10_000 && !isList(); turn += 1) await act(() => new Promise(resolve => setImmediate(resolve)));
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
