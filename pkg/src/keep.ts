/** Remembers that the user of this browser was asked. */
const ASKED = "privstack-sync asked to keep";

let asking: Promise<boolean> | undefined;

/**
 * Asks the browser to keep what this origin stores until its user deletes it, once a page. True if it does.
 *
 * Firefox asks its user, who is asked once only, whatever the answer was and in whichever tab. The others decide by
 * themselves, and later visits may change their mind.
 */
export function keep(): Promise<boolean> {
  return (asking ??= ask().catch(() => false)); // private windows of some browsers refuse
}

async function ask(): Promise<boolean> {
  const storage = globalThis.navigator?.storage;
  if (!storage?.persist) return false;
  if (await storage.persisted()) return true;
  if (asksItsUser()) {
    if (globalThis.localStorage.getItem(ASKED)) return false;
    globalThis.localStorage.setItem(ASKED, "yes");
  }
  return storage.persist();
}

function asksItsUser(): boolean {
  return /\bFirefox\//.test(globalThis.navigator.userAgent);
}
