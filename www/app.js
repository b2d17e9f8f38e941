// Opens the store and wires the parts of the page to it.

import { open } from "./sync/dist/index.js";
import { app } from "./model.js";
import { $, attempt, problem } from "./dom.js";
import { showBoard } from "./board.js";
import { showDevices } from "./devices.js";
import { showTimeline } from "./timeline.js";
import { syncWords, storageWords } from "./words.js";

/** What the server of this page says: `relays`, and in the demo `invite`, where an invite can be asked for. */
async function settings() {
  try {
    const answer = await fetch("settings.json");
    if (answer.ok) {
      const { relays, invite } = await answer.json();
      // What the service worker has kept tells that there is no server that could make an invite.
      return { relays, invite: answer.headers.has("x-kept") ? undefined : invite };
    }
  } catch {
    // Away from the network the last settings come from the cache; without them the page works by itself.
  }
  return { relays: [] };
}

/** "Firefox on Linux": what others see as this device's name. */
function deviceName() {
  const agent = navigator.userAgent;
  const browser = ["Firefox", "Edg", "Chrome", "Safari"].find((name) => agent.includes(`${name}/`)) ?? "Browser";
  const system = ["Android", "iPhone", "iPad", "Windows", "Mac", "Linux"].find((name) => agent.includes(name));
  return `${browser === "Edg" ? "Edge" : browser}${system ? ` on ${system}` : ""}`;
}

function showStatus(store) {
  const show = () => {
    const [tone, words] = syncWords(store.status.current, store.peers.current);
    $("sync").className = `sync ${tone}`;
    if ($("sync-words").textContent !== words) $("sync-words").textContent = words;
    $("storage").textContent = storageWords(store.status.current);
    $("offline").checked = store.status.current.state === "paused";
  };
  store.status.subscribe(show);
  store.peers.subscribe(show);
  $("offline").addEventListener("change", () => ($("offline").checked ? store.pause() : store.resume()));
}

async function saveCopy(store) {
  const url = URL.createObjectURL(await store.export());
  const link = document.createElement("a");
  link.href = url;
  link.download = `notes ${new Date().toISOString().slice(0, 10)}.privstack`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

async function showRecoveryWords(store) {
  const words = await store.recoveryWords();
  $("recovery").hidden = words === null;
  $("recovery").onclick = () => {
    $("words").replaceChildren(...words.map((word) => Object.assign(document.createElement("li"), { textContent: word })));
    $("words-dialog").showModal();
  };
  $("words-dialog").onclose = async () => {
    $("words").replaceChildren();
    if ($("words-dialog").returnValue !== "kept") return;
    await attempt(() => store.recoverySaved());
    $("recovery").hidden = true;
  };
}

/** In the demo a native device lets every page in; elsewhere a person does, by "Connect a device". Joining the same vault
 *  again changes nothing; into another one, as after a new start of the demo, the notes come along. */
async function joinDemo(store, url) {
  const answer = await fetch(url, { method: "POST", body: store.device.id });
  if (!answer.ok) throw new Error(`The demo's device made no invite: ${await answer.text()}`);
  await store.join((await answer.text()).trim());
}

async function start() {
  const { relays, invite } = await settings();
  const store = await open({ name: "notes-board", schema: app, deviceName: deviceName(), relays });
  showStatus(store);
  showBoard(store);
  showDevices(store);
  showTimeline(store);
  for (const id of ["add", "offline", "connect", "save-copy"]) $(id).disabled = false;
  $("save-copy").onclick = () => attempt(() => saveCopy(store));
  window.addEventListener("pagehide", () => { store.close(); });
  if (invite) await attempt(() => joinDemo(store, invite));
  await showRecoveryWords(store);
}

navigator.serviceWorker?.register("sw.js").catch(() => { /* The page works without it, but not without a network. */ });
start().catch((error) => {
  $("sync").className = "sync bad";
  $("sync-words").textContent = "The notes could not be opened";
  problem(error);
});
