import "./global.mjs";
import { createElement } from "react";
import { create } from "react-test-renderer";
import { schema, t } from "@privstack/sync";
import { useStore } from "@privstack/sync/react";
import { says } from "./says.mjs";

const app = schema({ note: { title: t.string() } });

says(() => new Promise((resolve, reject) => {
  function Page() {
    const { store, error } = useStore({ name: "bundled", schema: app });
    if (error) reject(error);
    if (store) resolve(store.collection("note").create({ title: "written" }).title);
    return null;
  }
  create(createElement(Page));
}));
