// The devices panel, and the dialog that connects another one.

import { $, el, attempt } from "./dom.js";
import { linkWords, reasonWords, shortId } from "./words.js";

export function showDevices(store) {
  const own = store.device;
  const nameOf = (id) => {
    if (id === own.id) return "This device";
    const peer = store.peers.current.find((one) => one.id === id);
    return peer?.name || shortId(id);
  };

  const draw = () => {
    const lines = [line(`${own.name || "This device"} (this device)`, "good", shortId(own.id))];
    for (const peer of store.peers.current) {
      const tone = { online: "good", connecting: "wait", offline: "off" }[peer.state];
      lines.push(line(peer.name || shortId(peer.id), tone, linkWords(peer)));
    }
    $("devices").replaceChildren(...lines);
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
      $("behind").textContent = entries.length === 0 ? "Nothing waits to be exchanged." : "Not in sync, and why:";
      $("reasons").hidden = entries.length === 0;
      const words = [...new Set(entries.map((entry) => reasonWords(entry, nameOf)))];
      $("reasons").replaceChildren(...words.slice(0, 8).map((text) => el("li", {}, text)));
    } finally {
      asking = false;
    }
  };
  store.status.subscribe(() => attempt(explain));
  store.peers.subscribe(() => attempt(explain));

  connectDialog(store);
}

function line(name, tone, words) {
  return el("li", { className: tone }, el("span", { className: "dot", ariaHidden: "true" }), el("span", { className: "name" }, name), el("span", { className: "quiet" }, words));
}

function connectDialog(store) {
  const say = (text) => { $("connect-words").textContent = text; };
  $("own-id").textContent = store.device.id;
  $("connect").onclick = () => {
    say("");
    $("invite-out-label").hidden = true;
    $("connecting").showModal();
  };
  $("copy-id").onclick = async () => {
    try {
      await navigator.clipboard.writeText(store.device.id);
      say("The id is copied.");
    } catch {
      getSelection()?.selectAllChildren($("own-id"));
      say("The browser does not allow copying; the id is selected instead.");
    }
  };
  $("make-invite").onclick = async () => {
    try {
      $("invite-out").value = await store.invite($("peer-id").value.trim());
      $("invite-out-label").hidden = false;
      $("invite-out").select();
      say("Copy the invite to the other device; it is of use to that one only.");
    } catch (error) {
      say(`No invite was made: ${error.message}`);
    }
  };
  $("join").onclick = async () => {
    try {
      say("Joining …");
      await store.join($("invite-in").value.trim());
      say("Joined. What the other devices have comes now.");
    } catch (error) {
      say(`Not joined: ${error.message}`);
    }
  };
}
