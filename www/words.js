// What is so, in words.

import { count, bytes } from "./dom.js";

const REASONS = {
  no_route: "no way to it was found; is it switched on and on the network?",
  not_trusted: "it is not, or no longer, one of your devices",
  policy_denied: "the vault's rules do not let it have this",
  missing_key: "a key to read it is missing",
  behind: "it has changes that have not come here yet",
  ahead: "it has not got your newest changes yet",
  quarantined: "changes came that do not count, because their author may not make them",
  forked: "one of its data folders was copied and used twice; it mends that when it hears of it",
  version: "it runs a version that does not fit; update one of the two",
  quota: "there is no room left for it",
  paused: "work offline is switched on",
};

/** The state of the whole in a word for its colour and a sentence. */
export function syncWords(status, peers) {
  const online = peers.filter((peer) => peer.state === "online").length;
  if (status.unsaved > 0) return ["wait", `Saving ${count(status.unsaved, "change")} …`];
  if (status.state === "paused") return ["wait", `Working offline${unsent(status)}`];
  if (status.state === "syncing") return ["wait", "Exchanging changes …"];
  if (peers.length === 0) return ["good", "Saved on this device. No other device is connected yet"];
  if (online === 0) return ["wait", `No other device can be reached${unsent(status)}`];
  return ["good", `In sync with ${count(online, "device")}${unsent(status)}`];
}

const unsent = (status) => (status.unsent > 0 ? `; ${count(status.unsent, "change")} not sent yet` : "");

export function storageWords({ storage, tab }) {
  const room = storage.quota > 0 ? ` of ${bytes(storage.quota)}` : "";
  const kept = storage.persistent
    ? "The browser keeps them until you delete them."
    : "The browser may delete them when the disk gets full: connect a second device, or save a copy.";
  const where = tab === "leader" ? "This tab does the syncing." : "Another tab does the syncing; both show the same.";
  return `${bytes(storage.used)}${room} on this device. ${kept} ${where}`;
}

export function linkWords(peer) {
  const ways = { lan: "on the local network", direct: "directly", webrtc: "from browser to browser", relay: "through a relay", cloud: "through cloud storage" };
  if (peer.state === "online") return `Online, ${ways[peer.via] ?? "connected"}${lag(peer)}`;
  if (peer.state === "connecting") return `Connecting …${lag(peer)}`;
  return `Offline${peer.lastSeen ? `, last seen ${ago(peer.lastSeen)}` : ", never met"}${lag(peer)}`;
}

function lag({ behind, ahead }) {
  const parts = [];
  if (ahead > 0) parts.push(`lacks ${count(ahead, "change")} of ours`);
  if (behind > 0) parts.push(`has ${count(behind, "change")} for us`);
  return parts.length ? `; ${parts.join(", ")}` : "";
}

export function reasonWords(entry, nameOf) {
  return `${nameOf(entry.peer)}: ${REASONS[entry.reason] ?? entry.reason}${entry.commits > 0 ? ` (${count(entry.commits, "commit")})` : ""}`;
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
