import type { AuditEntry } from "./contract.js";
import type { Engine } from "./engine.js";
import { LiveValue } from "./live.js";
import { Looking } from "./looking.js";
import type { AuditInfo } from "../wasm/privstack_sync.js";

/** What the engine gives at once. */
const PAGE = 1_000;
/** What the engine keeps. */
const LIMIT = 4_096;
/** The engine's names, where the contract's differ. */
const ACTIONS: Record<string, Pick<AuditEntry, "action" | "changed">> = {
  role_changed: { action: "roleChanged" },
  teams_changed: { action: "roleChanged", changed: "teams" },
  acl_changed: { action: "aclChanged" },
  policy_changed: { action: "aclChanged", changed: "policy" },
};

/** The audit log of this device, oldest first; read once somebody looks at it, and kept current from then on. */
export class AuditOf extends LiveValue<readonly AuditEntry[]> {
  readonly #engine: Engine;
  readonly #looking: Looking;
  #entries: readonly AuditEntry[] = Object.freeze([]);
  #isRead = false;

  constructor(engine: Engine) {
    super(engine.life);
    this.#engine = engine;
    this.#looking = new Looking(() => this.#look(), () => engine.isClosed);
  }

  get current(): readonly AuditEntry[] {
    void this.ready().catch(() => {}); // closed, or the engine is being opened again
    return this.#entries;
  }

  protected override async ready(): Promise<void> {
    if (!this.#isRead) await this.#looking.now();
  }

  /** There are further entries. */
  async moved(): Promise<void> {
    if (this.#isRead) await this.#looking.now();
  }

  async #look(): Promise<void> {
    const page = await this.#engine.ask<AuditInfo[]>("audit", this.#entries.at(-1)?.number ?? 0);
    this.#isRead = true;
    if (page.length === 0) return;
    this.#entries = Object.freeze([...this.#entries, ...page.map(entry)].slice(-LIMIT));
    if (page.length === PAGE) this.#looking.again();
    this.notify();
  }
}

function entry({ number, at, peer, by, action, entityType, allowed, count }: AuditInfo): AuditEntry {
  return Object.freeze({
    number, at: new Date(at), peer, by, count, decision: allowed ? "allow" : "deny",
    ...(ACTIONS[action] ?? { action: action as AuditEntry["action"] }),
    ...(entityType == null ? {} : { entityType }),
  });
}
