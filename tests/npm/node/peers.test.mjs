import assert from "node:assert/strict";
import test from "node:test";
import { testPeers } from "@privstack/sync/testing";
import { app, until } from "./support.mjs";

test("devices share a vault: what one writes the others show, with the network coming and going", async test => {
  const peers = await testPeers(3, { schema: app });
  test.after(() => peers.close());
  const [a, b, c] = peers.stores;
  const notes = peers.stores.map(store => store.collection("note"));
  const note = notes[0].create({ title: "a", likes: 1, tags: new Set(["x"]) });
  await a.settled("peer");
  await until(notes[2].all(), rows => rows.length === 1);
  await peers.converged();

  b.pause();
  await until(b.status, status => status.state === "paused");
  notes[1].update(note.id, { title: "b" });
  notes[1].increment(note.id, "likes", 2);
  notes[0].increment(note.id, "likes", 4);
  notes[0].delete(note.id);
  assert.notEqual(await a.digest(), await b.digest());
  const reasons = await b.explain();
  assert.ok(reasons.some(({ reason }) => reason === "paused"), JSON.stringify(reasons));
  b.resume();
  await peers.converged();
  const now = await notes[2].get(note.id);
  assert.deepEqual([now?.title, now?.likes], ["b", 7], "an edit that had not seen the delete brings it back");
  assert.deepEqual(await a.explain(), []);
  assert.deepEqual((await c.explain()).map(({ reason }) => reason), ["no_route"], "it has no way to the second");

  const [peer] = b.peers.current.filter(peer => peer.id === a.device.id);
  assert.equal(peer.state, "online");
  await peer.rename("the first");
  const renamed = await until(b.peers, list => list.some(peer => peer.name === "the first"));
  assert.equal(renamed.find(peer => peer.name === "the first").id, a.device.id);
  const report = await b.syncNow({ peer: a.device.id });
  assert.ok(report.millis >= 0 && report.sent >= 0);
  const history = await notes[0].history(note.id);
  assert.deepEqual(new Set(history.map(change => change.by)), new Set([a.device.id, b.device.id]));
  assert.ok(history[0].at instanceof Date && history[0].fields.includes("title"));
});

test("a device that joins with data of its own brings it along", async test => {
  const peers = await testPeers(1, { schema: app });
  const own = await testPeers(1, { schema: app });
  test.after(async () => {
    await peers.close();
    await own.close();
  });
  const [host] = peers.stores;
  const [guest] = own.stores;
  host.collection("note").create({ title: "host's" });
  const { id } = guest.collection("note").create({ title: "guest's" });
  const all = guest.collection("note").all();
  await guest.join(await host.invite(guest.device.id));
  assert.deepEqual(all.current.map(note => note.title), ["guest's"]);
  guest.collection("note").update(id, { title: "still writes" });
  await guest.settled();
  assert.equal((await guest.collection("note").get(id)).title, "still writes");
});
