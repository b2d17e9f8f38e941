import type {
  Abortable, Collection, Device, EntityId, NotSynced, OpenOptions, Pairing, Peer, PeerId, PolicyControl, Quarantine, Schema, Store,
  SyncEvent, SyncReport, SyncRole, SyncStatus,
} from "./contract.js";
import { CollectionOf, typed } from "./collection.js";
import { copyOf, isCopy, takeCopy } from "./copy.js";
import type { NotSyncedInfo, PeerInfo, StatusInfo } from "./core.js";
import { Engine, type Listener } from "./engine.js";
import { checkSecure, closed, invalid, SyncError, unsupported } from "./errors.js";
import { keep } from "./keep.js";
import { asyncDispose, LiveCell } from "./live.js";
import { load, type Module, type Source } from "./load.js";
import { PairingOf } from "./pairing.js";
import { checkPolicy, checkRole, PolicyOf } from "./policy.js";
import { QuarantineOf } from "./quarantine.js";
import { Relays } from "./relays.js";
import { sealKey } from "./passphrase.js";
import { NO_USE, StorageUse } from "./usage.js";
import { onWake } from "./wake.js";

/** How long news may gather before `status` and `peers` ask the engine. */
const GATHER_MS = 30;
/** How often a relay is asked who it is, until it answers. */
const ASK_RELAYS_MS = 15_000;

/** Where there is no store to read a vault from. */
const STORAGE_FAILED: ReadonlySet<string> = new Set(["storage", "quota", "version"]);

const NO_STATUS: SyncStatus = Object.freeze({
  state: "offline", unsaved: 0, unsent: 0, lastSync: null,
  storage: NO_USE,
  tab: "follower", role: null, clockOffset: null, misfits: 0, quarantined: 0,
});

export class StoreOf<S extends Schema> implements Store<S>, Listener {
  readonly device: Device;
  readonly #pairing: PairingOf;
  readonly #policy: PolicyOf;
  readonly #quarantine: QuarantineOf;
  readonly cloud: Store<S>["cloud"];
  readonly #engine: Engine;
  readonly #module: Module;
  readonly #inMemory: boolean;
  readonly #collections = new Map<string, CollectionOf>();
  readonly #status: LiveCell<SyncStatus>;
  readonly #peers: LiveCell<readonly Peer[]>;
  readonly #use = new StorageUse(() => this.stirred());
  #gathering: ReturnType<typeof setTimeout> | undefined;
  readonly #awake: () => void;
  #asking = false;
  #isLeft = false;
  #stirredMeanwhile = false;
  /** Whether the browser is asked, or will be once the first write is saved, not to evict what is stored. */
  #keeps: boolean;

  constructor(engine: Engine, module: Module, options: OpenOptions<S>, deviceName: string) {
    this.#engine = engine;
    this.#module = module;
    this.#inMemory = options.storage === "memory";
    this.#keeps = this.#inMemory;
    this.device = Object.freeze({ id: engine.device, name: deviceName, platform: "web" });
    for (const [type, fields] of Object.entries(options.schema)) {
      this.#collections.set(type, new CollectionOf(engine, type, fields));
    }
    const look = () => this.stirred();
    this.#status = new LiveCell<SyncStatus>(engine.life, Object.freeze({ ...NO_STATUS, tab: engine.core.leads() ? "leader" : "follower" }), look);
    this.#peers = new LiveCell<readonly Peer[]>(engine.life, Object.freeze([]), look);
    this.#pairing = new PairingOf({ engine, module, peer: id => this.#peer(id), trusted: () => this.#keep() });
    this.#policy = new PolicyOf(engine, options.policy, role => this.#status.set(this.#with({ role })));
    this.#quarantine = new QuarantineOf(engine, options.schema);
    this.cloud = Object.freeze({
      connect: async () => { throw unsupported("cloud storage"); },
      setToken: () => { throw unsupported("cloud storage"); },
      disconnect: async () => { throw unsupported("cloud storage"); },
    });
    engine.listener = this;
    this.#awake = onWake(() => this.#reconnect(), () => !this.#peers.current.some(peer => peer.state === "online"), () => {
      if (this.#peers.current.some(peer => peer.state !== "online")) this.stirred();
    });
    this.stirred();
    this.membersChanged();
  }

  get pairing(): Pairing {
    return this.#pairing;
  }

  get policy(): PolicyControl {
    return this.#policy;
  }

  get quarantine(): Quarantine {
    return this.#quarantine;
  }

  get peers(): LiveCell<readonly Peer[]> {
    return this.#peers;
  }

  get status(): LiveCell<SyncStatus> {
    return this.#status;
  }

  collection<K extends keyof S & string>(type: K): Collection<S, K> {
    const collection = this.#collections.get(type);
    if (!collection) throw invalid(`the schema has no type \`${type}\``);
    return typed<S, K>(collection);
  }

  batch<R>(write: (tx: Pick<Store<S>, "collection">) => R): R {
    return this.#engine.batch(() => write(this));
  }

  // ---- the vault ----------------------------------------------------------------------------------------------------

  invite(peer: PeerId, role: SyncRole = "member"): Promise<string> {
    return this.#engine.ask<string>("invite", { peer, role });
  }

  async join(invite: string): Promise<void> {
    await this.#engine.saved();
    await this.#engine.ask<void>("join", invite);
    this.#keep();
  }

  async recoveryWords(): Promise<readonly string[] | null> {
    const words = await this.#engine.ask<string | null>("words");
    return words === null ? null : Object.freeze(words.split(" "));
  }

  recoverySaved(): Promise<void> {
    return this.#engine.ask<void>("wordsSaved");
  }

  // ---- syncing ------------------------------------------------------------------------------------------------------

  events(options: Abortable & { history?: number } = {}): AsyncIterable<SyncEvent> {
    return this.#engine.events(options.signal, options.history ?? 0);
  }

  async syncNow(options: Abortable & { peer?: PeerId } = {}): Promise<SyncReport> {
    const start = performance.now();
    const moved = await this.#engine.ask<{ sent: number; received: number }>("sync", options.peer, options.signal);
    return { ...moved, millis: Math.round(performance.now() - start) };
  }

  pause(): void {
    this.#tell("pause");
  }

  resume(): void {
    this.#tell("resume");
  }

  /** The tab that runs the engine makes its links anew. */
  #reconnect(): void {
    if (!this.#engine.isClosed && this.#engine.core.leads()) this.#tell("reconnect");
  }

  #tell(what: string): void {
    if (this.#engine.isClosed) throw closed();
    this.#engine.ask<void>(what).then(() => this.stirred(), () => {});
  }

  async settled(level: "disk" | "peer" | "cloud" = "disk", options: Abortable = {}): Promise<void> {
    if (level === "cloud") throw unsupported("cloud storage");
    await this.#engine.saved(options.signal);
    if (level === "peer") await this.#engine.ask<void>("settled", "peer", options.signal);
  }

  async explain(id?: EntityId): Promise<readonly NotSynced[]> {
    await this.#engine.saved();
    const reasons = await this.#engine.ask<NotSyncedInfo[]>("explain", id);
    return reasons.map(({ id, peer, reason, commits }) => ({ id, peer, reason: reason as NotSynced["reason"], commits }));
  }

  async digest(): Promise<string> {
    await this.#engine.saved();
    return this.#engine.ask<string>("digest");
  }

  // ---- backup -------------------------------------------------------------------------------------------------------

  /** The vault; where the storage has failed, a copy of what this page shows, with what could not be saved. */
  async export(): Promise<Blob> {
    try {
      return await this.#backup();
    } catch (error) {
      if (!(error instanceof SyncError && STORAGE_FAILED.has(error.code)) || this.#engine.isClosed) throw error;
      // A single block that cannot be read is another matter: there is a vault, and it is mended.
      const hasFailed = await this.#engine.saved().then(() => false, () => true);
      if (hasFailed) return copyOf(this.#engine, this.#collections);
      throw error;
    }
  }

  async #backup(): Promise<Blob> {
    await this.#engine.saved();
    const writer = new this.#module.BackupWriter();
    try {
      const parts = [writer.start()];
      let after: Uint8Array | undefined;
      do {
        const part: { items: Uint8Array[]; next?: Uint8Array } = await this.#engine.ask("backup", after);
        parts.push(writer.part(part.items));
        after = part.next;
      } while (after);
      parts.push(writer.end());
      return new Blob(parts as BlobPart[], { type: "application/octet-stream" });
    } finally {
      writer.free();
    }
  }

  async import(backup: Blob): Promise<void> {
    const bytes = new Uint8Array(await backup.arrayBuffer());
    if (isCopy(bytes)) {
      await takeCopy(this.#engine, this.#collections, bytes);
      return this.#keep();
    }
    let parts: Uint8Array[][];
    try {
      parts = this.#module.backupParts(bytes);
    } catch (error) {
      throw invalid(error instanceof Error ? error.message : String(error));
    }
    for (const items of parts) {
      if (items.length > 0) await this.#engine.ask<void>("restore", items);
    }
    this.#keep();
  }

  async persisted(): Promise<boolean> {
    if (this.#inMemory) return false;
    const storage = globalThis.navigator?.storage;
    return (await storage?.persisted?.()) || (await storage?.persist?.()) || false;
  }

  close(): Promise<void> {
    clearTimeout(this.#gathering);
    this.#use.end();
    this.#awake();
    return this.#engine.close();
  }

  async [asyncDispose](): Promise<void> {
    await this.close();
  }

  // ---- for tests ----------------------------------------------------------------------------------------------------

  /** Keeps a link to this address wanted. */
  dial(address: string): Promise<void> {
    return this.#engine.ask<void>("dial", address);
  }

  /** Resolves with the next event, or after a while. */
  async nextEvent(): Promise<void> {
    const events = this.#engine.events(AbortSignal.timeout(200), 0);
    for await (const _ of events) return;
  }

  // ---- news ---------------------------------------------------------------------------------------------------------

  entities(type: string, ids: readonly string[]): void {
    this.#collections.get(type)?.changed(ids);
  }

  fetched(type: string, ids: readonly string[]): void {
    this.#collections.get(type)?.fetched(ids);
  }

  ready(type: string): void {
    this.#collections.get(type)?.everythingCame();
  }

  wrote(): void {
    this.#status.set(this.#with({}));
    if (this.#keeps) return;
    this.#keeps = true;
    this.#engine.saved().then(() => this.#keep(), () => {
      this.#keeps = false; // the next write that is saved
    });
  }

  /** There is something now that is worth keeping. */
  #keep(): void {
    if (this.#inMemory) return;
    this.#keeps = true;
    void keep().then(isKept => {
      if (!isKept) return;
      this.#use.forget();
      this.stirred();
    });
  }

  left(error: unknown): void {
    if (this.#isLeft) return;
    this.#isLeft = true;
    this.#engine.fail(error);
    // The app may hand over what it holds back when it hears of it. What is not saved was told.
    const isSaved = this.#engine.saved().catch(() => {});
    void isSaved.then(() => this.close()).catch(() => {});
  }

  pairingMoved(): void {
    void this.#pairing.moved().catch(() => {}); // closed, or the engine is being opened again
  }

  membersChanged(): void {
    void this.#quarantine.moved().catch(() => {}); // closed, or the engine is being opened again
    void this.#policy.moved().catch(() => {}); // the same
  }

  audited(): void {
    void this.#policy.audit.moved().catch(() => {}); // the same
  }

  stirred(): void {
    if (this.#engine.isClosed) return;
    this.#stirredMeanwhile = true;
    this.#status.set(this.#with({}));
    this.#gathering ??= setTimeout(() => {
      this.#gathering = undefined;
      void this.#look();
    }, GATHER_MS);
  }

  /** The status with what this tab knows by itself. */
  #with(more: Partial<SyncStatus>): SyncStatus {
    const before = this.#status.current;
    let misfits = 0;
    for (const collection of this.#collections.values()) misfits += collection.misfits;
    const now: SyncStatus = {
      ...before, unsaved: this.#engine.core.unsaved(), tab: this.#engine.core.leads() ? "leader" : "follower", misfits, ...more,
    };
    return JSON.stringify(now) === JSON.stringify(before) ? before : Object.freeze(now);
  }

  /** A device that was signed in just now. */
  async #peer(id: PeerId): Promise<Peer> {
    this.#tellPeers(await this.#engine.ask<PeerInfo[]>("peers"));
    const peer = this.#peers.current.find(peer => peer.id === id);
    if (!peer) throw new SyncError("not_found", "the device that was just paired is not in the vault any more");
    return peer;
  }

  /** Asks the engine; what is stirred meanwhile is asked for once more. */
  async #look(): Promise<void> {
    if (this.#asking) return;
    this.#asking = true;
    let { quarantined } = this.#status.current;
    try {
      while (this.#stirredMeanwhile && !this.#engine.isClosed) {
        this.#stirredMeanwhile = false;
        const [status, peers, storage] = await Promise.all([
          this.#engine.ask<StatusInfo>("status"), this.#engine.ask<PeerInfo[]>("peers"), this.#inMemory ? NO_USE : this.#use.look(),
        ]);
        if (this.#engine.isClosed) return;
        const state = status.paused ? "paused" : status.online === 0 ? "offline" : status.syncing > 0 ? "syncing" : "idle";
        this.#status.set(this.#with({
          state, unsaved: Math.max(this.#engine.core.unsaved(), status.unsaved),
          unsent: status.unsent + this.#engine.core.unsaved(),
          lastSync: status.lastSync == null ? null : new Date(status.lastSync),
          clockOffset: status.clockOffset ?? null, quarantined: status.quarantined, storage,
        }));
        if (status.quarantined !== quarantined) void this.#quarantine.moved().catch(() => {}); // the same
        quarantined = status.quarantined;
        this.#tellPeers(peers);
      }
    } catch (error) {
      if (!(error instanceof SyncError)) throw error; // closed, or the engine is being opened again: it stirs when it is
    } finally {
      this.#asking = false;
    }
  }

  #tellPeers(told: readonly PeerInfo[]): void {
    const before = new Map(this.#peers.current.map(peer => [peer.id, peer] as const));
    const peers = told.map(peer => {
      const now: Peer = Object.freeze({
        id: peer.id, name: peer.name || `…${peer.id.slice(-6)}`, platform: peer.platform,
        state: peer.online ? "online" : peer.connecting ? "connecting" : "offline", via: peer.online ? (peer.via as Peer["via"]) : null,
        lastSeen: peer.lastSeen == null ? null : new Date(peer.lastSeen), behind: peer.behind, ahead: peer.ahead, role: peer.role,
        rename: async (name: string) => {
          await this.#engine.ask<void>("rename", { peer: peer.id, name });
          this.stirred();
        },
        revoke: async () => {
          await this.#engine.ask<void>("change", { remove: { peer: peer.id } });
          this.stirred();
        },
        setRole: async (role: SyncRole) => {
          checkRole(role);
          await this.#engine.ask<void>("change", { role: { peer: peer.id, role } });
          this.stirred();
        },
      } satisfies Peer);
      const known = before.get(peer.id);
      return known && JSON.stringify(known) === JSON.stringify(now) ? known : now;
    });
    const old = this.#peers.current;
    if (peers.length !== old.length || peers.some((peer, at) => peer !== old[at])) this.#peers.set(Object.freeze(peers));
  }
}

/** Opens a store. `wasm` is where its module comes from when the app does not say; `network` is for tests. */
export async function openStore<S extends Schema>(options: OpenOptions<S>, wasm: () => Source, network?: unknown): Promise<StoreOf<S>> {
  const { name, signal } = options;
  if (typeof name !== "string" || name === "") throw invalid("open: give the store a `name`");
  if (typeof options.schema !== "object" || options.schema === null) throw invalid("open: give the store a `schema`, made by `schema({ … })`");
  for (const [option, what] of [["iceServers", "WebRTC"], ["cloud", "cloud storage"]] as const) {
    if (options[option] !== undefined) throw unsupported(`open: \`${option}\` (${what})`);
  }
  if (options.policy !== undefined) checkPolicy(options.policy);
  if (options.passphrase === "") throw invalid("open: an empty `passphrase` seals nothing; leave it out, or give one");
  signal?.throwIfAborted();
  const inMemory = options.storage === "memory";
  if (!inMemory && typeof indexedDB === "undefined") {
    throw new SyncError("unsupported", "there is no IndexedDB here (as in Node); open the store with `storage: \"memory\"`");
  }
  checkSecure();
  const relays = new Relays(options.relays ?? []);
  if (options.relays?.length && typeof WebSocket === "undefined") {
    throw new SyncError("unsupported", "relays are reached by WebSocket, which Node has from version 22 on; open the store without `relays` here");
  }
  // A relay that nobody has asked yet may be asked while the module loads; the store opens without an answer too.
  const [module] = await Promise.all([load(options.wasm ?? wasm), relays.isKnown ? undefined : relays.ask()]);
  const deviceName = options.deviceName ?? "browser";
  const key = options.passphrase === undefined || inMemory ? undefined : await sealKey(module, name, options.passphrase);
  const engine = await Engine.open(module, {
    name, deviceName, memory: inMemory, single: options.tabs === "single", offline: !options.relays?.length,
    relays: relays.known, enterprise: options.policy?.kind === "enterprise",
  }, network, key);
  const store = new StoreOf<S>(engine, module, options, deviceName);
  if (!relays.isComplete) askRelays(engine, relays);
  if (signal?.aborted) {
    await store.close();
    throw new SyncError("aborted", "the store was not opened: the call was given up", { retryable: true, cause: signal.reason });
  }
  return store;
}

/** Asks relays who they are until all have said so; each that has is used from then on. */
function askRelays(engine: Engine, relays: Relays): void {
  const ask = async () => {
    if (!engine.isClosed && (await relays.ask()) && !engine.isClosed) engine.core.setRelays(relays.known);
    if (engine.isClosed || relays.isComplete) stop();
  };
  const timer = setInterval(ask, ASK_RELAYS_MS);
  void ask();
  globalThis.addEventListener?.("online", ask);
  const stop = () => {
    clearInterval(timer);
    globalThis.removeEventListener?.("online", ask);
  };
}
