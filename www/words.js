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

/** The same of this device itself. */
const OWN_REASONS = {
  policy_denied: "what you wrote while its data was in two places waits until it may change notes again",
};

const ERRORS = {
  quota: "There is no room left on this device, and the newest changes are not saved. Make room on the disk, or save a copy; what you wrote stays on this page as long as it is open.",
  storage: "This browser has stopped keeping the notes: was its data for this page deleted? Save a copy before you close this page.",
  closed: "The notes are closed in this tab. Reload the page.",
  policy_denied: "The vault's rules do not let this device change that.",
  not_trusted: "This device is not in the vault any more, so nothing can be changed here.",
  deleted: "This note was deleted meanwhile, maybe on another device.",
  insecure_context: "Browsers keep notes for secure pages only: open this page by https://, or from localhost.",
};

/** Why no device was connected. */
const UNPAIRED = {
  code_mismatch: "That is not the code that the other device shows. Look again: a new one may have taken its place.",
  code_expired: "That code has run out or was replaced, or has a slip in its first four digits. Type the one that the other device shows now.",
  code_burned: "That code was used already, or typed wrongly three times. The other device shows a new one; type that.",
  pairing_locked: "The other device takes no codes any more, as too many were typed wrongly. “Show a code” there tells how to unlock it.",
  timeout: "It took too long: both have to say within two minutes that the words match. Start again.",
  unreachable: "The other device cannot be reached. Does it still show its code? Are both online, and do both use the same relay?",
  version: "The two run versions that do not fit. Update both (here: reload the page), then start again.",
  policy_denied: "This device may not let others in. Show the code on another device that may.",
  no_relay: "This page names no relay, and browsers find each other through one only. Type a code or link of a native device here, or connect without a code.",
  paused: "“Work offline” is switched on. Switch it off, then start again.",
};

/** The same for this side: `shows` the code, said no itself (`isOwn`), had `compared` the words, has a link (`isLink`). */
export function pairingWords(error, { shows = false, isOwn = false, compared = false, isLink = false } = {}) {
  switch (error.code) {
    case "rejected":
      return isOwn ? "Nothing was shared. If the words differ, somebody may be in between: start again, and compare once more."
        : "The other device says that the words do not match. Nothing was shared.";
    case "aborted": // What this device has lost can be tried again.
      return error.retryable ? "The connection was cut off, as the tab of this browser that did the syncing has closed. Start again."
        : "The other device has given up. Nothing was shared.";
    case "pairing_locked":
      if (shows) return "Five codes were typed wrongly, three times each, within a quarter of an hour. Somebody may be guessing, so this device takes no codes any more. If it was you, unlock it.";
      break;
    case "busy": // this device, the other one, or the relay: the engine's sentence says which
      return sentence(error.message);
    case "unreachable":
      if (shows) return "The link to the other device broke. If it does not appear among your devices, start again.";
      break;
    case "policy_denied":
      if (compared && shows) return "The other device has notes of its own, and could not bring them along as Read only. It was not let in: connect it again as Member.";
      if (compared) return "This device has notes of its own, and could not bring them along as Read only. Nothing was changed: connect it again as Member.";
      break;
    case "code_expired":
      if (shows) return "Codes were shown for a quarter of an hour, and nobody has typed one. Nothing is shown any more.";
      if (isLink) return "That link has run out: it is good for two minutes. Copy the one that the other device shows now.";
  }
  return UNPAIRED[error.code] ?? errorWords(error);
}

const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}${text.endsWith(".") ? "" : "."}`;

/** Why a device was not removed, or has no other role. */
export function refusalWords(error, role, what = "It was not removed") {
  if (error.code !== "policy_denied") return `${what}: ${errorWords(error)}`;
  return `${what}: only Admins may do that, and this device is ${role === "removed" ? "no member any more" : `a ${ROLES[role] ?? "Member"}`}. Do it on an Admin device.`;
}

const ROLES = { admin: "Admin", member: "Member", readOnly: "Read only" };

export const roleName = (role) => (role === "readOnly" ? "“Read only”" : role === "admin" ? "an Admin" : "a Member");

/** Why nothing can be changed here. */
export function lockedWords(right) {
  if (right === "removed") return "This device was removed from your vault, so this note can be read here, and not changed.";
  return right === "read" ? "This device may only read, so this note cannot be changed here." : "";
}

/** What of a device is left out of the notes. */
export function leftOutWords(name, isOwn, notes) {
  const where = count(notes.length, "note");
  if (isOwn) return `What you wrote last in ${where} is not among the notes: this device was not allowed to write any more, and had not heard of that yet. It is kept here.`;
  const asked = notes.some(({ requested }) => requested) ? " You are asked to take it in." : "";
  return `“${name}” wrote in ${where} after it lost the right to, and before it heard of that. It is kept, and not among the notes.${asked}`;
}

/** A role, as a device's line ends (or begins) with it. */
export function roleWords(role, begins = false) {
  const word = role === "removed" || (begins && role === null) ? "Not in the vault any more" : ROLES[role];
  if (!word) return "";
  return begins ? `${word} · ` : ` · ${word}`;
}

export const kindWords = (device) => (device.platform === "web" ? "a browser" : "a computer");

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
  if (status.role === "removed") return ["bad", "Not in the vault any more"];
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

/** `self`: this device's id. */
export function reasonWords(entry, nameOf, self) {
  const reason = entry.peer === self ? OWN_REASONS[entry.reason] : undefined;
  return `${nameOf(entry.peer)}: ${reason ?? REASONS[entry.reason] ?? entry.reason}${entry.commits > 0 ? ` (${count(entry.commits, "change")})` : ""}`;
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
