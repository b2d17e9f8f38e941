// The devices panel, and the dialogs that name a device and connect another one.

import { $, el, attempt } from "./dom.js";
import { change } from "./typing.js";
import { deviceWords, linkWords, reasonWords, shortId } from "./words.js";

export function showDevices(store) {
  const own = store.device;
  const nameOf = (id) => {
    if (id === own.id) return "This device";
    const peer = store.peers.current.find((one) => one.id === id);
    return peer ? deviceWords(peer) : shortId(id);
  };
  const lines = new Map(); // id -> the device's line

  const draw = () => {
    const peers = store.peers.current;
    fill(lineOf(own.id), own.name || "This device", "good", `This device, ${shortId(own.id)}`);
    for (const peer of peers) {
      const tone = { online: "good", connecting: "wait", offline: "off" }[peer.state];
      fill(lineOf(peer.id, true), deviceWords(peer), tone, linkWords(peer));
    }
    const wanted = [own, ...peers].map(({ id }) => lines.get(id));
    if (wanted.some((line, at) => line !== $("devices").children[at]) || wanted.length !== $("devices").children.length) {
      $("devices").replaceChildren(...wanted);
    }
  };
  const lineOf = (id, isOther = false) => {
    const known = lines.get(id);
    if (known) return known;
    const line = el("li", {}, el("span", { className: "dot", ariaHidden: "true" }), el("span", { className: "name" }), el("span", { className: "quiet" }));
    if (isOther) line.append(el("button", { className: "plain", onclick: () => rename(store, id) }, "Rename"));
    lines.set(id, line);
    return line;
  };
  store.peers.subscribe(draw);
  // "Last seen 3 minutes ago" grows old by itself.
  setInterval(draw, 30_000);

  let asking = false;
  const explain = async () => {
    if (asking) return;
    asking = true;
    try {
      const entries = await store.explain();
      const isAlone = store.peers.current.length === 0;
      $("behind").textContent = entries.length > 0 ? "Not in sync, and why:" : isAlone ? "" : "All your devices have the same.";
      $("reasons").hidden = entries.length === 0;
      const words = [...new Set(entries.map((entry) => reasonWords(entry, nameOf)))];
      $("reasons").replaceChildren(...words.slice(0, 8).map((text) => el("li", {}, text)));
    } finally {
      asking = false;
    }
  };
  store.status.subscribe(() => attempt(explain, { background: true }));
  store.peers.subscribe(() => attempt(explain, { background: true }));

  connectDialog(store);
}

function fill(line, name, tone, words) {
  line.className = tone;
  const set = (node, text) => { if (node.textContent !== text) node.textContent = text; };
  set(line.querySelector(".name"), name);
  set(line.querySelector(".quiet"), words);
  line.querySelector("button")?.setAttribute("aria-label", `Rename ${name}`);
}

/** Names a device, for the devices of this browser only. */
function rename(store, id) {
  const peer = store.peers.current.find((one) => one.id === id);
  if (!peer) return;
  $("device-name").value = peer.name.startsWith("…") ? "" : peer.name;
  $("naming").onclose = () => {
    const name = $("device-name").value.trim();
    if ($("naming").returnValue === "name" && name) change(() => peer.rename(name));
  };
  $("no-name").onclick = () => $("naming").close("");
  $("naming").returnValue = "";
  $("naming").showModal();
}

const IS_ID = /^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}$/;
const IS_INVITE = /^privstack-invite-1:/;

function connectDialog(store) {
  const say = (text, field) => {
    $("connect-words").textContent = text;
    $("connect-words").className = field ? "wrong" : "";
    for (const one of ["peer-id", "invite-in"]) $(one).ariaInvalid = String(one === field);
    if (field) $(field).focus();
  };
  const copy = async (text, from, what) => {
    try {
      await navigator.clipboard.writeText(text);
      say(`${what} is copied.`);
    } catch {
      if (from.select) from.select();
      else getSelection()?.selectAllChildren(from);
      say(`The browser does not allow copying; it is selected instead, so that you can copy it.`);
    }
  };
  $("own-id").textContent = store.device.id;
  $("connect").onclick = () => {
    say("");
    for (const field of ["peer-id", "invite-in", "invite-out"]) $(field).value = "";
    $("invite-made").hidden = true;
    $("connecting").showModal();
  };
  $("copy-id").onclick = () => copy(store.device.id, $("own-id"), "The id");
  $("copy-invite").onclick = () => copy($("invite-out").value, $("invite-out"), "The invite");
  $("inviting").onsubmit = async (event) => {
    event.preventDefault();
    const id = $("peer-id").value.trim();
    $("invite-made").hidden = true;
    if (id === "") return say("Paste the id of the other device first.", "peer-id");
    if (id === store.device.id) return say("That is the id of this device; the other one has its own.", "peer-id");
    if (!IS_ID.test(id)) return say("That is no device's id: one has 52 letters and begins with 12D3KooW.", "peer-id");
    try {
      $("invite-out").value = await store.invite(id);
      $("invite-made").hidden = false;
      $("invite-out").select();
      say("Copy the invite to the other device; it is of use to that one only.");
    } catch (error) {
      say(`No invite was made: ${error.message}.`, "peer-id");
    }
  };
  $("joining").onsubmit = async (event) => {
    event.preventDefault();
    const invite = $("invite-in").value.trim();
    if (invite === "") return say("Paste an invite first.", "invite-in");
    if (!IS_INVITE.test(invite)) return say("That is no invite: one begins with privstack-invite-1:", "invite-in");
    try {
      say("Joining …");
      await store.join(invite);
      $("invite-in").value = "";
      say("Joined. What the other devices have comes now.");
    } catch (error) {
      say(`Not joined: ${error.message}.`, "invite-in");
    }
  };
}
