// What is so, in words.

const REASONS = {
  no_route: "it cannot be reached; is it switched on and online?",
  not_trusted: "it is not, or no longer, one of your devices",
  policy_denied: "the vault's rules do not let it have this",
  missing_key: "a key to read it is missing",
  behind: "it has changes that have not come here yet",
  ahead: "it has not got your newest changes yet",
  quarantined: "changes came that do not count, because their author may not make them",
  forked: "one of its data folders was copied and used twice; it mends that when it hears of it",
  version: "it runs a version that does not fit; update one of the two",
  quota: "there is no room left for it",
  paused: "“Work offline” is switched on",
};

const ERRORS = {
  quota: "There is no room left on this device, and the newest changes are not saved. Make room on the disk, or save a copy; what you wrote stays on this page as long as it is open.",
  storage: "This browser has stopped keeping the notes: was its data for this page deleted? Save a copy before you close this page.",
  closed: "The notes are closed in this tab. Reload the page.",
  deleted: "This note was deleted meanwhile, maybe on another device.",
  insecure_context: "Browsers keep notes for secure pages only: open this page by https://, or from localhost.",
};

/** An error as its reader can use it. */
export function errorWords(error) {
  return ERRORS[error?.code] ?? `${error?.message ?? error}`;
}

/** "1 note", "3 notes". */
export const count = (n, one, many = `${one}s`) => `${n.toLocaleString()} ${n === 1 ? one : many}`;

/** "a", "a and b", "a, b and c". */
export const list = (words) => (words.length < 2 ? words.join() : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`);

export function bytes(n) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  const step = n < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(n) / 3));
  return `${(n / 1000 ** step).toFixed(step === 0 || n >= 100 * 1000 ** step ? 0 : 1)} ${units[step]}`;
}

/** The state of the whole in a word for its colour and a sentence. `isNew`: the page has only just begun to look. */
export function syncWords(status, peers, isNew) {
  const online = peers.filter((peer) => peer.state === "online").length;
  if (status.unsaved > 0) return ["wait", `Saving ${count(status.unsaved, "change")} …`];
  if (status.state === "paused") return ["wait", `Working offline${unsent(status)}`];
  if (status.state === "syncing") return ["wait", "Exchanging changes …"];
  if (peers.length === 0) return ["good", "Saved on this device. No other device is connected yet"];
  if (online === 0 && isNew) return ["wait", "Looking for your other devices …"];
  if (online === 0) return ["wait", `No other device can be reached${unsent(status)}`];
  return ["good", `In sync with ${count(online, "device")}${unsent(status)}`];
}

const unsent = (status) => (status.unsent > 0 ? `; ${count(status.unsent, "change")} not sent yet` : "");

export function storageWords({ storage, tab }, peers) {
  const room = storage.quota > 0 ? `On this device: ${bytes(storage.used)} of the ${bytes(storage.quota)} that the browser allows.` : "On this device.";
  const kept = storage.persistent ? "The browser keeps your notes until you delete them."
    : peers.length > 0 ? "Should the disk get full, the browser may delete your notes here; your other devices keep theirs."
    : "Should the disk get full, the browser may delete your notes: connect a second device, or save a copy.";
  const where = tab === "leader" ? "This tab does the syncing." : "Another tab does the syncing; both show the same.";
  return `${room} ${kept} ${where}`;
}

/** A device's name; of one that has none here, what it is. */
export function deviceWords(peer) {
  return !peer.name || peer.name.startsWith("…") ? `${peer.platform === "web" ? "Browser" : "Device"}\u00a0${peer.id.slice(-6)}` : peer.name;
}

export function linkWords(peer) {
  const ways = { lan: "on the local network", direct: "directly", webrtc: "from browser to browser", relay: "through a relay", cloud: "through cloud storage" };
  if (peer.state === "online") return `Online, ${ways[peer.via] ?? "connected"}${lag(peer)}`;
  if (peer.state === "connecting") return `Connecting …${lag(peer)}`;
  return `Offline${peer.lastSeen ? `, last seen ${ago(peer.lastSeen)}` : ", not met yet"}${lag(peer)}`;
}

function lag({ behind, ahead }) {
  const parts = [];
  if (ahead > 0) parts.push(`lacks ${count(ahead, "change")} of ours`);
  if (behind > 0) parts.push(`has ${count(behind, "change")} for us`);
  return parts.length ? `; ${parts.join(", ")}` : "";
}

export function reasonWords(entry, nameOf) {
  return `${nameOf(entry.peer)}: ${REASONS[entry.reason] ?? entry.reason}${entry.commits > 0 ? ` (${count(entry.commits, "change")})` : ""}`;
}

export function ago(date) {
  const seconds = Math.max(0, (Date.now() - date.getTime()) / 1000);
  if (seconds < 45) return "just now";
  const format = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  if (seconds < 3600) return format.format(-Math.round(seconds / 60), "minute");
  if (seconds < 86_400) return format.format(-Math.round(seconds / 3600), "hour");
  return format.format(-Math.round(seconds / 86_400), "day");
}

/** The end of an id, enough to tell devices apart. */
export const shortId = (id) => `…${id.slice(-6)}`;
