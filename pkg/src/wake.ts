/** How long a page may be out of sight, or asleep, before its links are taken for dead. */
const ASLEEP_MS = 60_000;
/** How often the page looks at the clock: a gap much longer than this was a sleep. */
const LOOK_MS = 5_000;

/** The parts of a page's globals that tell of the network and of sleep; Node has none of them. */
interface Page extends EventTarget {
  readonly document?: Document;
}

/**
 * Calls `reconnect` when the links of this page are probably dead: the network came back, or the device has slept.
 * A page that is shown again without having slept reconnects only if `isAlone` says that no peer is online.
 * Calls `look` every few seconds meanwhile. Gives a function that ends it.
 */
export function onWake(reconnect: () => void, isAlone: () => boolean, look: () => void): () => void {
  const page = globalThis as unknown as Page;
  const document = page.document;
  let lookedAt = Date.now();
  const slept = () => {
    const gap = Date.now() - lookedAt;
    lookedAt = Date.now();
    return gap > ASLEEP_MS;
  };
  const shown = () => {
    if (document?.visibilityState !== "visible") return;
    if (slept() || isAlone()) reconnect();
  };
  const timer = setInterval(() => {
    // Timers of hidden pages are slowed down to one a minute: no sleep can be told there.
    if (slept() && document?.visibilityState === "visible") reconnect();
    look();
  }, LOOK_MS);
  (timer as { unref?: () => void }).unref?.(); // Node ends in spite of it
  page.addEventListener?.("online", reconnect);
  document?.addEventListener("visibilitychange", shown);
  document?.addEventListener("resume", reconnect);
  return () => {
    clearInterval(timer);
    page.removeEventListener?.("online", reconnect);
    document?.removeEventListener("visibilitychange", shown);
    document?.removeEventListener("resume", reconnect);
  };
}
