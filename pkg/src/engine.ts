import type { SyncEvent } from "./contract.js";
import { idsOf, idTexts, type Core, type CoreOptions, type Edit, type EntityChange, type News } from "./core.js";
import { abortable, call, closed, invalid, syncError } from "./errors.js";
import { guarded, Life, Queue } from "./live.js";
import { OpenTexts } from "./text.js";
import type { Module } from "./load.js";

/** Events that `events({ history })` can still tell. */
const HISTORY = 256;

/** What an engine tells the parts of a store. */
export interface Listener {
  entities(type: string, ids: readonly string[]): void;
  fetched(type: string, ids: readonly string[]): void;
  ready(type: string): void;
  /** Something that `status` or `peers` show may have changed. */
  stirred(): void;
  /** Pairing has come further, or ended. */
  pairingMoved(): void;
  /** Who is in the vault, or may do what, has changed. */
  membersChanged(): void;
  /** The audit log has another entry. */
  audited(): void;
  /** Something was written and is not saved yet. */
  wrote(): void;
  /** The store is to be closed, and why. */
  left(error: unknown): void;
}

/** A first sync tells of very many entities, and few apps read which: their texts are made for those that do. */
function entitiesUpdated(bytes: Uint8Array, origin: string): SyncEvent {
  let ids: string[] | undefined;
  return {
    type: "entitiesUpdated",
    get ids() {
      return (ids ??= idTexts(bytes));
    },
    origin,
  };
}

/** One open store's engine: writes in, news out, questions and their answers. */
export class Engine {
  readonly openTexts = new OpenTexts();
  readonly life = new Life();
  core!: Core;
  listener: Listener | undefined;
  isClosed = false;
  /** It takes no more writes. */
  #isClosing = false;
  #closed: Promise<void> | undefined;
  readonly #answers = new Map<number, { resolve: (value: any) => void; reject: (error: unknown) => void }>();
  readonly #events = new Set<Queue<SyncEvent>>();
  readonly #history: SyncEvent[] = [];
  /** The writes of a `batch()` that is being made, by type. */
  #batch: Map<string, Map<string, Edit[]>> | undefined;
  #device: string | undefined;
  #welcome!: () => void;
  readonly #welcomed = new Promise<void>(resolve => (this.#welcome = resolve));

  static async open(module: Module, options: CoreOptions, network?: unknown, key?: Uint8Array): Promise<Engine> {
    const engine = new Engine();
    try {
      engine.core = await module.Core.open(options, (news: News[]) => engine.#hear(news), network, key);
    } catch (thrown) {
      throw syncError(thrown);
    }
    await engine.#welcomed;
    engine.#device = engine.core.device();
    return engine;
  }

  get device(): string {
    return this.#device ?? "";
  }

  // ---- writing ----------------------------------------------------------------------------------------------------

  write(type: string, id: string, edits: readonly Edit[]): void {
    if (this.#isClosing) throw closed();
    if (edits.length === 0) return;
    if (!this.#batch) {
      call(() => this.core.write(type, [[id, edits]]));
      this.listener?.wrote();
      return;
    }
    const entities = this.#batch.get(type) ?? new Map<string, Edit[]>();
    this.#batch.set(type, entities);
    const earlier = entities.get(id);
    if (earlier) earlier.push(...edits);
    else entities.set(id, [...edits]);
  }

  /** What the batch that is being made has to write into an entity. */
  unwritten(type: string, id: string): readonly Edit[] {
    return this.#batch?.get(type)?.get(id) ?? [];
  }

  batch<R>(run: () => R): R {
    if (this.#isClosing) throw closed();
    if (this.#batch) return run(); // part of the one around it
    const batch = (this.#batch = new Map<string, Map<string, Edit[]>>());
    let result: R;
    try {
      result = run();
    } finally {
      this.#batch = undefined;
    }
    if (result instanceof Promise) {
      result.catch(() => {});
      throw invalid("a batch is written at once: give `batch` a function that is not async");
    }
    for (const [type, entities] of batch) {
      const changes: EntityChange[] = [...entities];
      call(() => this.core.write(type, changes));
    }
    this.listener?.wrote();
    return result;
  }

  // ---- questions ----------------------------------------------------------------------------------------------------

  ask<T>(name: string, argument?: unknown, signal?: AbortSignal): Promise<T> {
    return this.#answer<T>(() => this.core.ask(name, argument), signal);
  }

  /** Resolves once all that was written before is on disk; rejects if something of it was refused. */
  saved(signal?: AbortSignal): Promise<void> {
    return this.#answer<void>(() => this.core.settle(), signal);
  }

  #answer<T>(start: () => number, signal: AbortSignal | undefined): Promise<T> {
    if (this.isClosed) return Promise.reject(closed());
    let number = 0;
    const answer = new Promise<T>((resolve, reject) => {
      number = call(start);
      this.#answers.set(number, { resolve, reject });
    });
    return abortable(answer, signal, () => {
      this.#answers.delete(number);
      if (!this.isClosed) this.core.forget(number);
    });
  }

  events(signal: AbortSignal | undefined, history: number): Queue<SyncEvent> {
    const past = history > 0 ? this.#history.slice(-history) : [];
    const queue = new Queue<SyncEvent>(signal, ended => this.#events.delete(ended), past);
    if (this.isClosed) queue.end();
    else if (!queue.isEnded) this.#events.add(queue);
    return queue;
  }

  async close(): Promise<void> {
    if (this.#isClosing) return this.#closed;
    // What comes later would be saved by nobody.
    this.#isClosing = true;
    return (this.#closed = this.#close());
  }

  async #close(): Promise<void> {
    // What was refused was told already.
    await this.saved().catch(() => {});
    this.isClosed = true;
    try {
      await this.core.close();
    } catch (thrown) {
      throw syncError(thrown);
    } finally {
      for (const { reject } of this.#answers.values()) reject(closed());
      this.#answers.clear();
      for (const queue of [...this.#events]) queue.end();
      this.openTexts.end();
      this.life.end();
    }
  }

  // ---- news ---------------------------------------------------------------------------------------------------------

  #hear(news: readonly News[]): void {
    for (const one of news) guarded(() => this.#hearOne(one));
  }

  #hearOne(news: News): void {
    switch (news.kind) {
      case "welcome":
        this.#welcome();
        this.listener?.stirred();
        this.listener?.membersChanged();
        this.listener?.pairingMoved();
        break;
      case "leave":
        this.listener?.left(news.error);
        break;
      case "pairing":
        this.listener?.pairingMoved();
        break;
      case "audited":
        this.listener?.audited();
        break;
      case "members":
        this.listener?.membersChanged();
        this.listener?.stirred();
        break;
      case "paused":
      case "saved":
        this.listener?.stirred();
        break;
      case "entities":
        this.listener?.entities(news.type, idsOf(news.ids));
        break;
      case "fetched":
        this.listener?.fetched(news.type, idsOf(news.ids));
        break;
      case "ready":
        this.listener?.ready(news.type);
        break;
      case "text":
        this.openTexts.get(news.type, news.id, news.field)?.changed(news.changes, news.update);
        break;
      case "answer": {
        const waiting = this.#answers.get(news.number);
        this.#answers.delete(news.number);
        if (news.error === undefined) waiting?.resolve(news.value);
        else waiting?.reject(syncError(news.error));
        break;
      }
      case "failed":
        this.fail(news.error);
        break;
      case "notice":
        if (news.type === "syncError") {
          this.#tell({ type: "syncError", peer: news.peer, error: syncError(news.error, news.peer) as never });
        } else {
          this.#tell({ type: news.type, peer: news.peer });
          if (news.type === "pairingCompleted") this.listener?.pairingMoved();
        }
        this.listener?.stirred();
        break;
      case "changed":
        this.#tell(entitiesUpdated(news.ids, news.peer === this.device ? "local" : news.peer));
        this.listener?.stirred();
        break;
    }
  }

  /** Tells the app of something that failed beside its calls. */
  fail(error: unknown): void {
    if (!this.isClosed) this.#tell({ type: "syncError", peer: this.device, error: syncError(error) as never });
  }

  #tell(event: SyncEvent): void {
    this.#history.push(event);
    if (this.#history.length > HISTORY) this.#history.shift();
    for (const queue of this.#events) queue.push(event);
  }
}
