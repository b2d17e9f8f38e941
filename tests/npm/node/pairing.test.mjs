import assert from "node:assert/strict";
import test from "node:test";
import { testPeers } from "@privstack/sync/testing";
import { app, thrown, until } from "./support.mjs";

async function apart(test, count, options = {}) {
  const peers = await testPeers(count, { schema: app, apart: true, ...options });
  test.after(() => peers.close());
  return peers;
}

/** An offer, once the network has given it a number: the code says then where it leads. */
async function offerOf(store, options) {
  const offer = await store.pairing.offer(options);
  await until(offer.current, ({ code }) => /^\d{4}-/.test(code));
  return offer;
}

/** Both users see the same words and confirm. */
async function pair(host, guest, role) {
  const offer = await offerOf(host);
  const joining = await guest.pairing.join(offer.code);
  const shown = await offer.session;
  assert.deepEqual(shown.words, joining.words);
  return Promise.all([joining.confirm(), shown.confirm({ role })]);
}

test("a code typed on another device makes both trust each other", async test => {
  const peers = await apart(test, 2);
  const [host, guest] = peers.stores;
  host.collection("note").create({ title: "host's" });
  guest.collection("note").create({ title: "guest's" });
  const offer = await offerOf(host);
  assert.match(offer.code, /^\d{4}-\d{6}$/, "the network has numbers for devices");
  assert.equal(offer.uri.protocol, "privstack:");
  const seconds = (offer.expiresAt - Date.now()) / 1_000;
  assert.ok(seconds > 100 && seconds <= 120, String(seconds));
  const picture = offer.qr({ scale: 3 });
  const larger = offer.qr({ page: "https://notes.example/board?a=b" });
  assert.ok(larger.length > picture.length, "a page's address is longer than the link alone");
  assert.equal(host.status.current.role, "admin");
  assert.match(picture, /^<svg xmlns="http:\/\/www.w3.org\/2000\/svg" viewBox="0 0 (\d+) \1"/);

  const completed = (async () => {
    for await (const event of guest.events()) if (event.type === "pairingCompleted") return event.peer;
  })();
  const joining = await guest.pairing.join(` ${offer.code.replace("-", " ")} `);
  const shown = await offer.session;
  assert.deepEqual(joining.words, shown.words);
  assert.equal(joining.words.length, 4);
  assert.deepEqual([joining.peer.name, shown.peer.name], [host.device.name, guest.device.name]);
  assert.deepEqual([joining.peer.id, shown.peer.id], [host.device.id, guest.device.id], "as the connection authenticated them");
  assert.equal(joining.step.current, "confirming");
  assert.deepEqual(host.peers.current, [], "nothing before both have confirmed");
  const [theirs, ours] = await Promise.all([joining.confirm(), shown.confirm()]);
  assert.deepEqual([theirs.id, ours.id], [host.device.id, guest.device.id]);
  await until(guest.status, ({ role }) => role === "member");
  assert.deepEqual([joining.error, shown.error], [null, null]);
  assert.deepEqual([joining.step.current, shown.step.current], ["trusted", "trusted"]);
  assert.equal(await completed, host.device.id);
  await peers.converged();
  const titles = host.collection("note").all({ orderBy: "title" });
  await until(titles, rows => rows.length === 2);
  assert.deepEqual(titles.current.map(note => note.title), ["guest's", "host's"], "both kept what they had");
  const seen = await until(host.peers, list => list.some(peer => peer.id === guest.device.id && peer.state === "online"));
  assert.deepEqual(seen.map(({ name, role, platform }) => ({ name, role, platform })), [{ name: guest.device.name, role: "member", platform: "web" }]);
});

test("the link of the QR code does the same", async test => {
  const peers = await apart(test, 2);
  const [host, guest] = peers.stores;
  const offer = await host.pairing.offer();
  const joining = await guest.pairing.join(offer.uri);
  const shown = await offer.session;
  await Promise.all([joining.confirm(), shown.confirm({ role: "readOnly" })]);
  await peers.converged();
  const [peer] = await until(host.peers, list => list.length === 1);
  assert.equal(peer.role, "readOnly");
});

test("a page's address with the link in it is as good, percent-encoded or not; what holds no link is refused", async test => {
  const peers = await apart(test, 2);
  const [host, guest] = peers.stores;
  for (const spell of [uri => uri, encodeURIComponent]) {
    const offer = await host.pairing.offer();
    const joining = await guest.pairing.join(`https://notes.example/board?a=b#pair=${spell(offer.uri.href)}`);
    const shown = await offer.session;
    assert.deepEqual(joining.words, shown.words);
    const ended = thrown(() => shown.confirm());
    await joining.reject();
    await ended;
  }
  for (const text of ["https://notes.example/", "https://notes.example/#pair=482951", `https://notes.example/#pair=privstack:${"x".repeat(100_000)}`]) {
    assert.equal((await thrown(() => guest.pairing.join(text))).code, "invalid", text.slice(0, 60));
  }
});

test("wrong, refused and cancelled pairings say so and leave nothing behind", async test => {
  const peers = await apart(test, 3);
  const [host, guest, third] = peers.stores;
  assert.equal((await thrown(() => guest.pairing.join("no code"))).code, "invalid");
  assert.equal((await thrown(() => guest.pairing.offer({ ttl: 5 }))).code, "invalid");
  const offer = await offerOf(host);
  const last = offer.code.slice(-1);
  const wrong = offer.code.slice(0, -1) + ((Number(last) + 1) % 10);
  assert.equal((await thrown(() => guest.pairing.join(wrong))).code, "code_mismatch");

  const joining = await guest.pairing.join(offer.code);
  const shown = await offer.session;
  const refused = thrown(() => joining.confirm());
  await shown.reject();
  assert.equal((await refused).code, "rejected");
  assert.deepEqual([joining.step.current, shown.step.current], ["rejected", "rejected"]);
  assert.deepEqual([joining.error.code, shown.error.code], ["rejected", "rejected"]);
  assert.equal((await thrown(() => joining.confirm())).code, "rejected", "it stays so");
  assert.deepEqual([host.peers.current, guest.peers.current], [[], []]);

  const control = new AbortController();
  const another = await offerOf(host, { signal: control.signal });
  const code = another.code;
  control.abort();
  assert.ok(["aborted", "closed"].includes((await thrown(() => another.session)).code));
  const late = await thrown(() => third.pairing.join(code));
  assert.ok(["unreachable", "code_expired"].includes(late.code), late.code);
  await using_(await host.pairing.offer(), async offer => assert.ok(offer.code));
});

/** `await using`, which Node 20 has not. */
async function using_(resource, run) {
  try {
    await run(resource);
  } finally {
    await resource[Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose")]();
  }
}

test("too many wrong codes lock pairing until the user unlocks it", async test => {
  const peers = await apart(test, 2);
  const [host, guest] = peers.stores;
  const offer = await offerOf(host);
  let codes = new Set();
  let error;
  for (let n = 0; n < 30 && error?.code !== "pairing_locked"; n += 1) {
    const { code } = offer;
    codes.add(code);
    const wrong = code.slice(0, -1) + ((Number(code.slice(-1)) + 1) % 10);
    error = await thrown(() => guest.pairing.join(wrong));
    if (error.code === "code_burned") await until(offer.current, ({ code: now }) => now !== code).catch(() => {});
  }
  assert.equal((await thrown(() => host.pairing.offer())).code, "pairing_locked");
  assert.ok(codes.size >= 4, "each burned code was replaced by a new one");
  await host.pairing.unlock();
  const again = await host.pairing.offer();
  await again[Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose")]();
  await pair(host, guest);
  await peers.converged();
});

test("a device that is removed gets nothing new", async test => {
  const peers = await apart(test, 3);
  const [host, ...guests] = peers.stores;
  for (const guest of guests) await pair(host, guest);
  host.collection("note").create({ title: "for all" });
  await peers.converged();
  const [first, second] = guests;
  first.pause();
  await until(first.status, status => status.state === "paused");
  await host.peers.current.find(peer => peer.id === first.device.id).revoke();
  await until(host.peers, list => !list.some(peer => peer.id === first.device.id && peer.role !== null));
  host.collection("note").create({ title: "not for the removed" });
  first.collection("note").create({ title: "of the removed" });
  await first.settled();
  first.resume();
  await until(first.status, status => status.state !== "paused");
  const rows = second.collection("note").all();
  await until(rows, list => list.some(note => note.title === "not for the removed"));
  await until(host.peers, list => list.find(peer => peer.id === second.device.id)?.ahead === 0);
  assert.equal(await host.digest(), await second.digest());
  assert.ok(!rows.current.some(note => note.title === "of the removed"));
  // It has heard of its removal, though it was away: what it wrote after that is kept, and counts nowhere.
  await until(first.status, ({ role }) => role === "removed");
  const own = await until(first.collection("note").all(), list => list.length === 1);
  assert.deepEqual(own.map(note => note.title), ["for all"]);
  const reasons = new Set((await first.explain()).map(({ reason }) => reason));
  for (const reason of ["not_trusted", "quarantined"]) assert.ok(reasons.has(reason), `${reason} in ${[...reasons]}`);
  const refused = await thrown(() => second.peers.current.find(peer => peer.id === host.device.id).revoke());
  assert.equal(refused.code, "policy_denied", "members do not remove");
});

for (const policy of [undefined, { kind: "enterprise", acls: [{ entityType: "note", allowedRoles: ["admin", "member"] }], roles: {}, teams: {} }]) {
  test(`an Admin changes a device's role in ${policy ? "an enterprise's" : "a personal"} vault`, async test => {
    const peers = await apart(test, 3, policy ? { policy } : {});
    const [host, guest, other] = peers.stores;
    const { id } = host.collection("note").create({ title: "shared" });
    if (policy) await until(host.policy, now => now.kind === "enterprise" && now.acls.length === 1);
    await pair(host, guest);
    await pair(host, other);
    await peers.converged();
    const guestOf = store => store.peers.current.find(peer => peer.id === guest.device.id);
    await until(other.peers, list => list.some(peer => peer.id === guest.device.id && peer.role === "member"));

    assert.equal((await thrown(() => guestOf(host).setRole("boss"))).code, "invalid");
    assert.equal((await thrown(() => guestOf(other).setRole("admin"))).code, "policy_denied", "members give no roles");
    await guestOf(host).setRole("readOnly");
    await until(guest.status, ({ role }) => role === "readOnly");
    for (const store of [host, other]) await until(store.peers, () => guestOf(store).role === "readOnly");
    const refused = (async () => {
      for await (const event of guest.events()) if (event.type === "syncError") return event.error;
    })();
    guest.collection("note").update(id, { title: "of a reader" });
    const error = await refused;
    assert.equal(error.code, "policy_denied");
    assert.ok(error.message.length > 10, "it says why");
    await until(guest.collection("note").one(id), note => note?.title === "shared", "what was refused does not show");

    await guestOf(host).setRole("admin");
    await until(guest.status, ({ role }) => role === "admin");
    guest.collection("note").update(id, { title: "of an Admin" });
    await until(other.collection("note").one(id), note => note?.title === "of an Admin");
    await until(guest.peers, list => list.find(peer => peer.id === other.device.id)?.role === "member");
    await guest.peers.current.find(peer => peer.id === other.device.id).setRole("readOnly");
    await until(other.status, ({ role }) => role === "readOnly");

    const gone = guestOf(host);
    await gone.revoke();
    await until(guest.status, ({ role }) => role === "removed");
    assert.equal((await thrown(() => gone.setRole("member"))).code, "not_found", "no member any more");
    const denied = await thrown(() => guest.peers.current.find(peer => peer.id === other.device.id).setRole("member"));
    assert.ok(["not_trusted", "policy_denied"].includes(denied.code), denied.code);
  });
}

test("what a device wrote before it heard that it may no longer: shown, asked for, written again, accepted", async test => {
  const peers = await apart(test, 2);
  const [host, guest] = peers.stores;
  const notes = guest.collection("note");
  const { id } = host.collection("note").create({ title: "shared", tags: new Set(["one"]) });
  await pair(host, guest);
  await peers.converged();
  assert.deepEqual(await guest.quarantine.list(), []);
  const { body } = await notes.get(id);
  const member = () => host.peers.current.find(peer => peer.id === guest.device.id);
  /** Writes while it is away, and hears of its new role when it is back. */
  const meanwhile = async (entities, write) => {
    guest.pause();
    await until(guest.status, ({ state }) => state === "paused");
    await member().setRole("readOnly");
    write();
    await guest.settled();
    guest.resume();
    await until(guest.status, ({ role, quarantined }) => role === "readOnly" && quarantined > 0);
    for (const store of [host, guest]) await until(store.quarantine, list => list.length === entities);
  };
  const back = async () => {
    await member().setRole("member");
    await until(guest.status, ({ role }) => role === "member");
  };

  await meanwhile(2, () => {
    body.insert(0, "letters");
    notes.update(id, { due: new Date(5), blob: Uint8Array.of(7) });
    notes.insert(id, "tags", "two");
    notes.increment(id, "likes", 3);
    notes.create({ title: "new" });
  });
  await until(notes.one(id), note => note?.likes === 0, "it does not count");
  for (const store of [host, guest]) {
    const told = await store.quarantine.list();
    assert.equal(told.length, 2);
    const held = told.find(one => one.id === id);
    assert.deepEqual([held.type, held.by, held.requested, held.deleted], ["note", guest.device.id, false, false]);
    const { title, body: text, due, blob, tags, likes, extra, done } = held.fields;
    assert.deepEqual({ title, text, due, blob, tags, likes, extra, done },
      { title: "shared", text: "letters", due: new Date(5), blob: Uint8Array.of(7), tags: new Set(["one", "two"]), likes: 3, extra: undefined, done: false });
  }
  assert.equal((await thrown(() => guest.quarantine.accept(guest.device.id))).code, "policy_denied");
  assert.equal((await thrown(() => guest.quarantine.writeAgain())).code, "policy_denied");
  assert.equal((await thrown(() => host.quarantine.writeAgain())).code, "not_found", "nothing of its own");
  await guest.quarantine.ask();
  await peers.converged();
  assert.ok((await host.quarantine.list()).every(one => one.requested));

  await back();
  await guest.quarantine.writeAgain();
  await until(host.collection("note").one(id), note => note?.likes === 3 && note.tags.has("two"));
  await peers.converged();
  assert.deepEqual([await host.quarantine.list(), await guest.quarantine.list()], [[], []]);
  await until(body, text => text === "letters");
  const digest = await host.digest();
  await host.quarantine.accept(guest.device.id);
  await peers.converged();
  assert.deepEqual([await host.digest(), await guest.digest()], [digest, digest], "once, though it was written twice");

  // Or an Admin takes it in as it is.
  await meanwhile(1, () => notes.update(id, { title: "late" }));
  await until(notes.one(id), note => note?.title === "shared");
  await host.quarantine.accept(guest.device.id);
  await until(notes.one(id), note => note?.title === "late");
  await until(guest.quarantine, list => list.length === 0);
  await until(guest.status, ({ quarantined }) => quarantined === 0);
  assert.equal((await thrown(() => host.quarantine.accept(guest.device.id))).code, "not_found");
});

test("an enterprise's rules: who reads and writes what, changed while all run", async test => {
  const peers = await apart(test, 3, {
    policy: { kind: "enterprise", acls: [{ entityType: "board", allowedRoles: ["admin", "member"] }], roles: {}, teams: {} },
  });
  const [admin, member, reader] = peers.stores;
  const wrong = { kind: "enterprise", acls: [{ entityType: "board", allowedRoles: ["boss"] }], roles: {}, teams: {} };
  assert.equal((await thrown(() => apart(test, 1, { policy: wrong }))).code, "invalid");
  await admin.collection("board").create({ name: "all" });
  await until(admin.policy, policy => policy.kind === "enterprise" && policy.acls.length === 1);
  const offer = await offerOf(admin);
  assert.match(offer.code, /^\d{4}-[0-9A-Z]{4}-[0-9A-Z]{4}$/, "longer codes by default");
  await offer[Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose")]();
  await pair(admin, member);
  await pair(admin, reader, "readOnly");
  admin.collection("note").create({ title: "admins only" });
  await until(member.collection("board").all(), list => list.length === 1);
  assert.deepEqual(member.collection("note").all().current, []);
  assert.deepEqual((await until(member.policy, policy => policy.roles?.[reader.device.id] === "readOnly")).kind, "enterprise");

  const now = admin.policy.current;
  await admin.policy.set({
    ...now, acls: [...now.acls, { entityType: "note", allowedRoles: ["admin", "member"], teamId: "writers" }],
    teams: { writers: [admin.device.id, member.device.id] },
  });
  const notes = member.collection("note").all();
  await until(notes, list => list.length === 1);
  member.collection("note").update(notes.current[0].id, { title: "members too" });
  await until(admin.collection("note").all(), list => list[0]?.title === "members too");
  assert.deepEqual(reader.collection("note").all().current, []);
  await until(reader.policy, policy => policy.teams?.writers?.length === 2);

  assert.equal((await thrown(() => member.policy.set({ kind: "personal" }))).code, "policy_denied");
  const strange = { ...admin.policy.current, roles: { "12D3KooWnobody": "admin" } };
  assert.equal((await thrown(() => admin.policy.set(strange))).code, "invalid");
  await admin.policy.set({ ...admin.policy.current, roles: { ...admin.policy.current.roles, [member.device.id]: "readOnly" } });
  await until(member.policy, policy => policy.roles[member.device.id] === "readOnly");
  const refused = (async () => {
    for await (const event of member.events()) if (event.type === "syncError") return event.error.code;
  })();
  member.collection("note").update(notes.current[0].id, { title: "no longer" });
  assert.equal(await refused, "policy_denied");

  const log = await until(admin.policy.audit, entries => entries.some(({ action, changed }) => action === "roleChanged" && !changed));
  assert.deepEqual(log.map(({ number }) => number), log.map((_, at) => at + 1));
  const actions = new Set(log.map(({ action }) => action));
  assert.ok(log.some(({ changed }) => changed === "teams"));
  for (const action of ["pair", "aclChanged", "roleChanged"]) assert.ok(actions.has(action), `${action} in ${[...actions]}`);
  const keptBack = ({ action, decision, peer, entityType, by }) =>
    action === "send" && decision === "deny" && peer === reader.device.id && entityType === "board" && by === admin.device.id;
  await until(admin.policy.audit, entries => entries.some(keptBack));
  const denied = ({ decision, by }) => decision === "deny" && by === member.device.id;
  await until(member.policy.audit, entries => entries.some(denied));
});

test("rules that cannot be set in a vault that was just made are told as an event, not swallowed", async test => {
  const stranger = "12D3KooWEjgFx1vwc62MtekujZ8TBpEvLVTXpJW7wX6Cu1te9xKN";
  const acls = [{ entityType: "note", allowedRoles: ["admin", "member"] }];
  const peers = await apart(test, 1, { policy: { kind: "enterprise", acls, roles: {}, teams: { writers: [stranger] } } });
  const [store] = peers.stores;
  // A store in memory that nobody is connected to keeps no process alive.
  const alive = setInterval(() => {}, 1_000);
  test.after(() => clearInterval(alive));
  const told = (async () => {
    for await (const event of store.events()) if (event.type === "syncError") return event.error;
  })();
  store.collection("note").create({ title: "makes the vault" });
  const error = await told;
  assert.equal(error.code, "invalid");
  assert.match(error.message, /no member/);
  await store.policy.set({ ...store.policy.current, kind: "enterprise", acls, roles: {}, teams: {} });
  assert.deepEqual(store.policy.current.acls, acls, "it shows when `set` resolves");
});
