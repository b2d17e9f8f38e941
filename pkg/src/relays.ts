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
  const [own, port] = [new URL(url), new URL(url)];
  own.protocol = port.protocol = secure ? "https:" : "http:";
  port.port = "4002";
  const path = "api/v1/identity";
  return (secure ? [own, port] : [port, own]).map(base => new URL(`/${path}`, base).href);
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
      if (remembered) this.known.push(address(url, remembered));
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
      const peer = await who(url);
      if (peer === undefined || !this.#unknown.delete(url)) return;
      globalThis.localStorage?.setItem(REMEMBERED + url.href, peer);
      this.known.push(address(url, peer));
    }));
    return this.known.length > before;
  }
}

async function who(url: URL): Promise<string | undefined> {
  for (const identity of identities(url)) {
    try {
      const answer = await fetch(identity, { signal: AbortSignal.timeout(IDENTITY_MS), credentials: "omit" });
      const { peer_id } = (await answer.json()) as { peer_id?: unknown };
      if (answer.ok && typeof peer_id === "string") return peer_id;
    } catch {
      // not there, or no network: the next one, or later
    }
  }
  return undefined;
}
