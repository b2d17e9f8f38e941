// The devices panel, and the dialogs that name a device and remove one.

import { $, el, attempt, toast } from "./dom.js";
import { change, flush } from "./typing.js";
import { deviceWords, linkWords, reasonWords, refusalWords, roleWords, shortId } from "./words.js";

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
    const { role } = store.status.current;
    fill(lineOf(own.id), own.name || "This device", role === "removed" ? "off" : "good", `This device${roleWords(role)}, ${shortId(own.id)}`);
    for (const peer of peers) {
      const tone = { online: "good", connecting: "wait", offline: "off" }[peer.state];
      const line = lineOf(peer.id, true);
      fill(line, deviceWords(peer), tone, `${roleWords(peer.role, true)}${linkWords(peer)}`);
      line.querySelector(".remove").hidden = peer.role === null || role === "removed";
    }
    const wanted = [own, ...peers].map(({ id }) => lines.get(id));
    if (wanted.some((line, at) => line !== $("devices").children[at]) || wanted.length !== $("devices").children.length) {
      $("devices").replaceChildren(...wanted);
    }
  };
  const lineOf = (id, isOther = false) => {
    const known = lines.get(id);
    if (known) return known;
    const line = el("li", { dataset: { id } }, el("span", { className: "dot", ariaHidden: "true" }), el("span", { className: "name" }), el("span", { className: "quiet" }));
    if (isOther) {
      line.append(el("span", { className: "acts" },
        el("button", { className: "plain rename", onclick: () => rename(store, id) }, "Rename"),
        el("button", { className: "plain danger remove", onclick: () => remove(store, id) }, "Remove")));
    }
    lines.set(id, line);
    return line;
  };
  store.peers.subscribe(draw);
  // "Last seen 3 minutes ago" grows old by itself.
  setInterval(draw, 30_000);

  let isShutOut = false;
  const showGone = () => { $("gone").hidden = !isShutOut && store.status.current.role !== "removed"; };
  let asking = false;
  const explain = async () => {
    if (asking) return;
    asking = true;
    try {
      const entries = await store.explain();
      // One that was away when it was removed hears it from the others only, each of which turns it away.
      const members = store.peers.current.filter((peer) => peer.role !== null);
      isShutOut = members.length > 0 && members.every(({ id }) => entries.some(({ peer, reason }) => peer === id && reason === "not_trusted"));
      showGone();
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

  let role;
  store.status.subscribe((status) => {
    if (status.role === role) return;
    role = status.role;
    showGone();
    // Only a member may write, or let others in.
    for (const id of ["add", "show-code"]) $(id).disabled = role === "removed";
    draw();
  });
}

function fill(line, name, tone, words) {
  line.className = tone;
  const set = (node, text) => { if (node.textContent !== text) node.textContent = text; };
  set(line.querySelector(".name"), name);
  set(line.querySelector(".quiet"), words);
  for (const button of line.querySelectorAll("button")) button.ariaLabel = `${button.textContent} ${name}`;
}

/** Removes a device from the vault, once its user has read what that means. */
function remove(store, id) {
  const peer = store.peers.current.find((one) => one.id === id);
  if (!peer) return;
  const [dialog, name] = [$("removing"), deviceWords(peer)];
  $("removing-title").textContent = `Remove “${name}”?`;
  $("removing-says").textContent = "";
  $("keep-device").onclick = () => dialog.close();
  $("remove-device").onclick = async () => {
    $("remove-device").disabled = true;
    try {
      flush();
      await peer.revoke();
      dialog.close();
      $("devices").focus();
      toast(`“${name}” is removed.`);
    } catch (error) {
      $("removing-says").textContent = refusalWords(error, store.status.current.role);
    } finally {
      $("remove-device").disabled = false;
    }
  };
  dialog.showModal();
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
