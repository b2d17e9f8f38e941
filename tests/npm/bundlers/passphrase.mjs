import { open, schema, t } from "@privstack/sync";
import { says } from "./says.mjs";

let where = "in the page";
const { Worker } = globalThis;
globalThis.Worker = class extends Worker {
  constructor(...given) {
    super(...given);
    this.addEventListener("message", ({ data }) => { if ("key" in data) where = "in a worker"; });
  }
};

says(async () => {
  const store = await open({ name: "sealed", schema: schema({ note: { title: t.string() } }), passphrase: "correct horse" });
  store.collection("note").create({ title: "written" });
  await store.settled();
  return where;
});
