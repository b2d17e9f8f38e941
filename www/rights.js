// What this device may do with the notes: write, only read, or, once it was removed, only read what it has. The parts of
// the page follow it as it changes.

const LISTENERS = new Set();
let now = "write";
let isShutOut = false;
let roleOf = () => null;

export const mayWrite = () => now === "write";

/** Calls `run` with "write", "read" or "removed": now, and whenever that changes. Gives what ends it. */
export function onRights(run) {
  run(now);
  LISTENERS.add(run);
  return () => LISTENERS.delete(run);
}

export function watchRights(store) {
  roleOf = () => store.status.current.role;
  store.status.subscribe(look);
}

/** One that was away when it was removed knows that from the others only, each of which turns it away. */
export function setShutOut(is) {
  isShutOut = is;
  look();
}

function look() {
  const role = roleOf();
  const next = isShutOut || role === "removed" ? "removed" : role === "readOnly" ? "read" : "write";
  if (next === now) return;
  now = next;
  for (const run of [...LISTENERS]) run(now);
}
