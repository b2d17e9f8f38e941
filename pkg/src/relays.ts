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

/** Relays as an app names them: those whose address is known, and those that have to be asked. */
export class Relays {
  readonly known: string[] = [];
  readonly #unknown = new Set<URL>();

  constructor(relays: readonly (string | URL)[]) {
    for (const relay of relays) {
      const text = String(relay);
      if (text.startsWith("/")) {
        this.known.push(text);
        continue;
      }
      const url = URL.canParse(text) ? new URL(text) : undefined;
      if (!url || !["ws:", "wss:", "http:", "https:"].includes(url.protocol)) {
        throw invalid(`open: \`${text}\` is no relay; give its URL (wss://…) or a multiaddress that ends in /p2p/…`);
      }
      const remembered = globalThis.localStorage?.getItem(REMEMBERED + url.href);
      if (remembered) this.known.push(...remembered.split(" "));
      else this.#unknown.add(url);
    }
  }

  get isComplete(): boolean {
    return this.#unknown.size === 0;
  }

  /** Asks those that have not answered yet; true if one has. */
  async ask(): Promise<boolean> {
    const before = this.known.length;
    await Promise.all([...this.#unknown].map(async url => {
      const found = await where(url);
      if (found.length === 0 || !this.#unknown.delete(url)) return;
      globalThis.localStorage?.setItem(REMEMBERED + url.href, found.join(" "));
      this.known.push(...found);
    }));
    return this.known.length > before;
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
