// The devices panel, and the dialogs that name a device, give it another role, and remove it.

import { $, el, attempt, toast } from "./dom.js";
import { onRights, setShutOut } from "./rights.js";
import { change, flush } from "./typing.js";
import { deviceWords, linkWords, reasonWords, refusalWords, roleName, roleWords, shortId } from "./words.js";

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
      for (const button of line.querySelectorAll(".remove, .role")) button.hidden = peer.role === null || role !== "admin";
    }
    $("who-removes").hidden = role === "admin" || role === null || peers.every((peer) => peer.role === null);
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
        el("button", { className: "plain role", onclick: () => changeRole(store, id) }, "Role"),
        el("button", { className: "plain danger remove", onclick: () => remove(store, id) }, "Remove")));
    }
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
      // One that was away when it was removed hears it from the others only, each of which turns it away.
      const members = store.peers.current.filter((peer) => peer.role !== null);
      setShutOut(members.length > 0 && members.every(({ id }) => entries.some(({ peer, reason }) => peer === id && reason === "not_trusted")));
      const isAlone = store.peers.current.length === 0;
      $("behind").textContent = entries.length > 0 ? "Not in sync, and why:" : isAlone ? "" : "All your devices have the same.";
      $("reasons").hidden = entries.length === 0;
      const words = [...new Set(entries.map((entry) => reasonWords(entry, nameOf, store.device.id)))];
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
    draw();
  });
  onRights((right) => {
    $("gone").hidden = right !== "removed";
    $("reading").hidden = right !== "read";
    // Only a member may let others in.
    $("show-code").disabled = right !== "write";
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

/** Gives a device another role, once its user has read what that lets it do. */
function changeRole(store, id) {
  const peer = store.peers.current.find((one) => one.id === id);
  if (!peer) return;
  const [dialog, name] = [$("role-dialog"), deviceWords(peer)];
  $("role-title").textContent = `What may “${name}” do?`;
  $("role-says").textContent = "";
  for (const radio of dialog.querySelectorAll("[name=new-role]")) radio.checked = radio.value === peer.role;
  $("no-role").onclick = () => dialog.close();
  $("save-role").onclick = async (event) => {
    event.preventDefault();
    const role = dialog.querySelector("[name=new-role]:checked").value;
    $("save-role").disabled = true;
    try {
      flush();
      if (role !== peer.role) {
        await peer.setRole(role);
        toast(`“${name}” is ${roleName(role)} now.`);
      }
      dialog.close();
    } catch (error) {
      $("role-says").textContent = refusalWords(error, store.status.current.role, "Its role was not changed");
    } finally {
      $("save-role").disabled = false;
    }
  };
  dialog.showModal();
  dialog.querySelector("[name=new-role]:checked")?.focus();
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
