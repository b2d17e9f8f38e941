// Opens the store and wires the parts of the page to it.

import { open } from "./sync/dist/index.js";
import { app } from "./model.js";
import { $, attempt, calmly, problem } from "./dom.js";
import { showBoard } from "./board.js";
import { showDevices } from "./devices.js";
import { inviteDialog } from "./invite.js";
import { isChangingHere, left, openNotes, passphraseDialog } from "./passphrase.js";
import { pairingDialog, takeLink } from "./pairing.js";
import { showTimeline } from "./timeline.js";
import { showLeftOut } from "./quarantine.js";
import { flush } from "./typing.js";
import { onRights, watchRights } from "./rights.js";
import { forgetKept, isKeptHere, keepHere, keepRefused, keepUnsaved, REFUSALS, restoreUnsaved } from "./unsaved.js";
import { showWelcome } from "./welcome.js";
import { syncWords, storageWords } from "./words.js";

/** The store's name. */
const NAME = "notes-board";
/** How often the state is said anew: what passes in a moment is not worth reading. */
const STATE_MS = 250;
/** So long after its start a page may still be on its way to other devices. */
const NEW_MS = 8_000;

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
  const isNew = () => performance.now() < NEW_MS;
  const show = () => {
    const [tone, words] = syncWords(store.status.current, store.peers.current, isNew());
    $("sync").className = `sync ${tone}`;
    if ($("sync-words").textContent !== words) $("sync-words").textContent = words;
    const kept = storageWords(store.status.current, store.peers.current);
    if ($("storage").textContent !== kept) $("storage").textContent = kept;
  };
  const soon = calmly(show, STATE_MS);
  show();
  store.status.subscribe(soon);
  store.peers.subscribe(soon);
  setTimeout(show, NEW_MS + 1 - performance.now());
  // What another tab has switched is switched here.
  store.status.subscribe(({ state }) => { $("offline").checked = state === "paused"; });
  $("offline").addEventListener("change", () => {
    flush();
    if ($("offline").checked) store.pause();
    else store.resume();
  });
}

/** Tells what goes wrong with the store itself: no room on the disk, a deleted database. Where another tab wants the notes
 *  for itself, they are closed here. */
async function showFailures(store) {
  let last;
  for await (const event of store.events({ history: 16 })) {
    if (event.type !== "syncError" || event.peer !== store.device.id) continue;
    if (REFUSALS.includes(event.error.code)) keepRefused(store);
    last = event.error;
    if (last.code === "locked") flush();
    if (!isChangingHere()) problem(last);
  }
  if (last?.code === "locked") left();
}

/** A page that goes out of sight may never come back. */
function keepWhatIsTyped(store, pairing) {
  const keep = () => keepUnsaved(store);
  window.addEventListener("beforeunload", (event) => {
    keep();
    if (isKeptHere(store)) event.preventDefault();
  });
  document.addEventListener("visibilitychange", () => { if (document.visibilityState === "hidden") keep(); });
  store.status.subscribe(({ unsaved }) => { if (unsaved === 0) forgetKept(); });
  window.addEventListener("pagehide", () => {
    keep();
    pairing.end();
    store.close();
  });
}

async function saveCopy(store) {
  flush();
  const copy = await store.export();
  const url = URL.createObjectURL(copy);
  const link = document.createElement("a");
  link.href = url;
  link.download = `notes ${new Date().toISOString().slice(0, 10)}.${copy.type === "application/json" ? "json" : "privstack"}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** What is in a copy and not on the board. */
async function takeCopy(store, file) {
  const say = (words) => { $("copy-said").textContent = words; };
  $("take-copy").disabled = true;
  say(`Taking in “${file.name}”…`);
  try {
    await store.import(file);
    await store.settled();
    say(`What is in “${file.name}” is on the board.`);
  } catch (error) {
    say("");
    throw error;
  } finally {
    $("take-copy").disabled = false;
    $("copy-file").value = "";
  }
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

/** In the demo a native device lets every page in, but one with `?alone` in its address; elsewhere a person does, by a code.
 *  Joining the same vault again changes nothing; into another one, as after a new start of the demo, the notes come along. */
async function joinDemo(store, url) {
  const answer = await fetch(url, { method: "POST", body: store.device.id });
  if (!answer.ok) throw new Error(`The demo's device made no invite: ${await answer.text()}`);
  await store.join((await answer.text()).trim());
}

async function start() {
  // The secret in it does not stay in the address.
  let link = takeLink();
  const isAlone = new URLSearchParams(location.search).has("alone");
  const { relays, invite } = await settings();
  const [store, isSealed] = await openNotes(NAME, (more) => open({ name: NAME, schema: app, deviceName: deviceName(), relays, ...more }));
  // What lies beside the store is sealed by nobody.
  if (isSealed) keepHere();
  watchRights(store);
  showStatus(store);
  void showFailures(store);
  showBoard(store);
  showDevices(store);
  inviteDialog(store);
  const pairing = pairingDialog(store, { hasRelay: relays.length > 0 });
  // One may be opened in this page while it starts.
  link ??= takeLink();
  window.addEventListener("hashchange", () => {
    const another = takeLink();
    if (another) pairing.join(another);
  });
  showTimeline(store);
  passphraseDialog(store, NAME, isSealed);
  for (const id of ["offline", "type-code", "connect", "save-copy", "take-copy"]) $(id).disabled = false;
  $("save-copy").onclick = () => attempt(() => saveCopy(store));
  $("take-copy").onclick = () => $("copy-file").click();
  $("copy-file").onchange = () => attempt(() => takeCopy(store, $("copy-file").files[0]));
  keepWhatIsTyped(store, pairing);
  // A page that the browser had put aside comes back with its store closed.
  window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  await attempt(() => showLeftOut(store));
  await attempt(() => restoreUnsaved(store));
  let before = "write";
  onRights((right) => {
    if (right !== "write") keepRefused(store);
    else if (before !== "write") attempt(() => restoreUnsaved(store), { background: true });
    before = right;
  });
  if (invite && !isAlone) await attempt(() => joinDemo(store, invite));
  showWelcome(store, pairing);
  if (link) pairing.join(link);
  await showRecoveryWords(store);
}

navigator.serviceWorker?.register("sw.js").catch(() => { /* The page works without it, but not without a network. */ });
start().catch((error) => {
  $("sync").className = "sync bad";
  $("sync-words").textContent = "The notes could not be opened";
  problem(error);
});
