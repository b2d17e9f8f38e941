import type { Abortable, Device, Pairing, PairingOffer, PairingSession, Peer, PeerId, SyncRole } from "./contract.js";
import type { Engine } from "./engine.js";
import { call, invalid, SyncError } from "./errors.js";
import { asyncDispose, LiveCell } from "./live.js";
import type { Module } from "./load.js";
import type { CodeInfo, PairPeerInfo, PairStateInfo } from "../wasm/privstack_sync.js";

type Code = PairingOffer["current"]["current"];

/** What pairing needs of its store. */
export interface PairingStore {
  readonly engine: Engine;
  readonly module: Module;
  /** A device that was just signed in, once it is among the peers. */
  peer(id: PeerId): Promise<Peer>;
  /** This device has got, or made, a vault. */
  trusted(): void;
}

/** Pairing of this device: at most one offer or joining at a time, as the engine has it. */
export class PairingOf implements Pairing {
  readonly #store: PairingStore;
  #offer: OfferOf | undefined;
  #session: SessionOf | undefined;

  constructor(store: PairingStore) {
    this.#store = store;
  }

  async offer(options: Abortable & { ttl?: number } = {}): Promise<PairingOffer> {
    const { ttl, signal } = options;
    if (ttl !== undefined && !(Number.isInteger(ttl) && ttl >= 10 && ttl <= 600)) throw invalid("a code is valid for 10 to 600 seconds (`ttl`)");
    const { engine } = this.#store;
    await engine.saved(signal);
    const code = await engine.ask<CodeInfo>("pairOffer", ttl, signal);
    const session = engine.ask<PairPeerInfo>("pairWait").then(peer => this.#begin(peer), (error: unknown) => {
      // An engine that knows of no code is another one than has made it.
      throw error instanceof SyncError && error.code === "invalid" ? lost(error) : error;
    });
    const offer = new OfferOf(this.#store, code, session);
    this.#offer = offer;
    this.#store.trusted();
    // A relay may have given it a number meanwhile.
    await this.moved();
    signal?.addEventListener("abort", () => void offer.cancel(), { once: true });
    if (signal?.aborted) void offer.cancel();
    return offer;
  }

  async join(code: string | URL, options: Abortable = {}): Promise<PairingSession> {
    const { engine } = this.#store;
    await engine.saved(options.signal);
    try {
      return this.#begin(await engine.ask<PairPeerInfo>("pairJoin", String(code), options.signal));
    } catch (error) {
      if (options.signal?.aborted) await engine.ask<void>("pairCancel").catch(() => {});
      throw error;
    }
  }

  unlock(): Promise<void> {
    return this.#store.engine.ask<void>("pairUnlock");
  }

  #begin(peer: PairPeerInfo): SessionOf {
    return (this.#session = new SessionOf(this.#store, peer));
  }

  /** Pairing has come further: another code is shown, or it has ended. */
  async moved(): Promise<void> {
    const session = this.#session;
    if (!this.#offer && !session) return;
    try {
      const state = await this.#store.engine.ask<PairStateInfo>("pairState");
      if (state.shown) this.#offer?.show(state.shown);
      if (state.paired) session?.trusted(state.paired);
      else if (!state.peer) session?.ended(lost());
    } catch (error) {
      if (!(error instanceof SyncError)) throw error;
      session?.ended(error);
    }
  }
}

class OfferOf implements PairingOffer {
  readonly current: LiveCell<Code>;
  readonly session: Promise<PairingSession>;
  readonly #store: PairingStore;

  constructor(store: PairingStore, code: CodeInfo, session: Promise<PairingSession>) {
    this.#store = store;
    this.current = new LiveCell(store.engine.life, read(code));
    this.session = session;
    // Whoever shows a code may not wait for what comes of it.
    session.catch(() => {});
  }

  get code(): string {
    return this.current.current.code;
  }

  get uri(): URL {
    return this.current.current.uri;
  }

  get expiresAt(): Date {
    return this.current.current.expiresAt;
  }

  qr(options: { scale?: number; page?: string | URL } = {}): string {
    const { scale = 4, page } = options;
    let text = this.uri.href;
    if (page !== undefined) {
      const address = new URL(page);
      address.hash = `pair=${text}`;
      text = address.href;
    }
    return call(() => this.#store.module.qrSvg(text, scale));
  }

  show(code: CodeInfo): void {
    if (code.code !== this.code || code.uri !== this.uri.href) this.current.set(read(code));
  }

  async cancel(): Promise<void> {
    // Where it has ended already there is nothing to cancel.
    await this.#store.engine.ask<void>("pairCancel").catch(() => {});
  }

  [asyncDispose](): Promise<void> {
    return this.cancel();
  }
}

class SessionOf implements PairingSession {
  readonly peer: Device;
  readonly words: readonly string[];
  readonly step: LiveCell<PairingSession["step"]["current"]>;
  error: SyncError | null = null;
  readonly #store: PairingStore;

  constructor(store: PairingStore, { id, name, platform, words }: PairPeerInfo) {
    this.#store = store;
    this.step = new LiveCell<PairingSession["step"]["current"]>(store.engine.life, "confirming");
    this.peer = Object.freeze({ id, name: name || `…${id.slice(-6)}`, platform: platform === "web" ? "web" : "desktop" });
    this.words = Object.freeze([...words]);
  }

  async confirm(options: { role?: SyncRole } = {}): Promise<Peer> {
    if (this.error) throw this.error;
    let id: PeerId;
    try {
      id = await this.#store.engine.ask<PeerId>("pairConfirm", options.role ?? "member");
    } catch (thrown) {
      const error = thrown instanceof SyncError && thrown.code === "invalid" ? lost(thrown) : thrown;
      if (error instanceof SyncError) this.ended(error);
      throw this.error ?? error;
    }
    this.trusted(id);
    return this.#store.peer(id);
  }

  async reject(): Promise<void> {
    await this.#store.engine.ask<void>("pairReject");
    this.ended(new SyncError("rejected", "the pairing was rejected on this device"));
  }

  /** Both devices trust each other. */
  trusted(id: PeerId): void {
    if (id !== this.peer.id || this.#isOver) return;
    this.step.set("trusted");
    this.#store.trusted();
  }

  /** The pairing is over. */
  ended(error: SyncError): void {
    if (this.#isOver) return;
    this.error = error;
    this.step.set("rejected");
  }

  get #isOver(): boolean {
    return this.step.current === "trusted" || this.step.current === "rejected";
  }
}

/** The tab that ran the engine has closed, and with it went what it had under way. */
function lost(cause?: SyncError): SyncError {
  return new SyncError("aborted", "the pairing was cut off, as the tab of this device that ran it has closed; start it again", { retryable: true, cause });
}

function read({ code, uri, expiresAt }: CodeInfo): Code {
  return Object.freeze({ code, uri: new URL(uri), expiresAt: new Date(expiresAt) });
}
