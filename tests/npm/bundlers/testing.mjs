import { schema, t } from "@privstack/sync";
import { testPeers } from "@privstack/sync/testing";
import { says } from "./says.mjs";

says(async () => {
  const peers = await testPeers(2, { schema: schema({ note: { title: t.string() } }) });
  const [one, other] = peers.stores.map(store => store.collection("note"));
  const { id } = one.create({ title: "written" });
  await peers.converged();
  const { title } = await other.get(id);
  await peers.close();
  return title;
});
