import { schema, t } from "@privstack/sync";
import { syncStore } from "@privstack/sync/svelte";
import { says } from "./says.mjs";

const app = schema({ note: { title: t.string() } });

says(() => new Promise((resolve, reject) => {
  const opened = syncStore({ name: "bundled", schema: app });
  opened.error.subscribe(error => error && reject(error));
  opened.subscribe(store => {
    if (store) resolve(store.collection("note").create({ title: "written" }).title);
  });
}));
