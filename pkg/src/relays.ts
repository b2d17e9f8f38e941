import { invalid } from "./errors.js";

/** How long a relay may take to say who it is. */
const IDENTITY_MS = 3_000;
const REMEMBERED = "privstack-sync relay ";

/** The address that the engine dials: a multiaddress that ends in the relay's peer id. */
function address(url: URL, peer: string): string {
  const host = url.hostname.replace(/^\[|\]$/g, "");
  const kind = host.includes(":") ? "ip6" : /^\d+(\.\d+){3}$/.test(host) ? "ip4" : "dns";
  const secure = url.protocol === "wss:" || url.protocol === "https:";
  return `/${kind}/${host}/tcp/${url.port || (secure ? 443 : 80)}/${secure ? "wss" : "ws"}/p2p/${peer}`;
}

/** Where a relay may say who it is: at its own address (behind a proxy), or at the port that it has for that. */
function identities(url: URL): string[] {
  const secure = url.protocol === "wss:" || url.protocol === "https:";
  const own = new URL("/api/v1/identity", url.href.replace(/^ws/, "http"));
  if (isIdentity(url)) return [own.href];
  const port = new URL(own);
  port.port = "4002";
  return (secure ? [own, port] : [port, own]).map(String);
}

/** An http(s) URL names the place where a relay says who it is and where. */
function isIdentity(url: URL): boolean {
  return url.protocol.startsWith("http");
}

/** Relays as an app names them: multiaddresses, and URLs whose relays are asked who they are. */
export class Relays {
  readonly #given: string[] = [];
  /** What each URL stands for: as remembered, until it has been asked. */
  readonly #found = new Map<URL, readonly string[]>();
  readonly #unasked = new Set<URL>();

  constructor(relays: readonly (string | URL)[]) {
    for (const relay of relays) {
      const text = String(relay);
      if (text.startsWith("/")) {
        this.#given.push(text);
        continue;
      }
      const url = URL.canParse(text) ? new URL(text) : undefined;
      if (!url || !["ws:", "wss:", "http:", "https:"].includes(url.protocol)) {
        throw invalid(`open: \`${text}\` is no relay; give its URL (wss://…) or a multiaddress that ends in /p2p/…`);
      }
      this.#found.set(url, remembered(url));
      this.#unasked.add(url);
    }
  }

  /** The addresses that are known. */
  get known(): string[] {
    return [...this.#given, ...[...this.#found.values()].flat()];
  }

  /** Whether every relay has an address, if only a remembered one. */
  get isKnown(): boolean {
    return [...this.#found.values()].every(found => found.length > 0);
  }

  /** Whether every relay has said who it is since the page was loaded: one that was set up anew has another identity. */
  get isComplete(): boolean {
    return this.#unasked.size === 0;
  }

  /** Asks those that have not answered yet; true if that changed an address. */
  async ask(): Promise<boolean> {
    const before = this.known.join(" ");
    await Promise.all([...this.#unasked].map(async url => {
      const found = await where(url);
      if (found.length === 0 || !this.#unasked.delete(url)) return;
      remember(url, found);
      this.#found.set(url, found);
    }));
    return this.known.join(" ") !== before;
  }
}

/** A browser may forbid its storage, or have no room left in it: then the relay is asked each time. */
function remembered(url: URL): readonly string[] {
  try {
    return globalThis.localStorage?.getItem(REMEMBERED + url.href)?.split(" ") ?? [];
  } catch {
    return [];
  }
}

function remember(url: URL, found: readonly string[]): void {
  try {
    globalThis.localStorage?.setItem(REMEMBERED + url.href, found.join(" "));
  } catch {
    // the same
  }
}

async function where(url: URL): Promise<string[]> {
  for (const identity of identities(url)) {
    try {
      const answer = await fetch(identity, { signal: AbortSignal.timeout(IDENTITY_MS), credentials: "omit" });
      const { peer_id: peer, addresses } = (await answer.json()) as { peer_id?: unknown; addresses?: unknown };
      if (!answer.ok || typeof peer !== "string") continue;
      if (!isIdentity(url)) return [address(url, peer)];
      const listed = Array.isArray(addresses) ? addresses.filter(one => typeof one === "string" && /\/wss?(\/|$)/.test(one)) : [];
      return listed.slice(0, 1).map((one: string) => (one.includes("/p2p/") ? one : `${one}/p2p/${peer}`));
    } catch {
      // not there, or no network: the next one, or later
    }
  }
  return [];
}
