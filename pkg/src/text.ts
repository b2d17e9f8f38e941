import type { Abortable, Text, TextDelta } from "./contract.js";
import type { TextChange } from "./core.js";
import { call, invalid } from "./errors.js";
import { LiveValue, Queue } from "./live.js";
import type { Engine } from "./engine.js";

/** A text of an entity, edited through this handle. */
export class TextHandle extends LiveValue<string> implements Text {
  readonly yjs: Text["yjs"];
  readonly #engine: Engine;
  readonly #type: string;
  readonly #id: string;
  readonly #field: string;
  readonly #deltas = new Set<Queue<TextDelta>>();
  readonly #updates = new Set<Queue<Uint8Array>>();
  #applying = false;

  constructor(engine: Engine, type: string, id: string, field: string) {
    super(engine.life);
    this.#engine = engine;
    this.#type = type;
    this.#id = id;
    this.#field = field;
    const handle = this;
    this.yjs = Object.freeze({
      get clientId() {
        return engine.core.textClient();
      },
      encode: (since?: Uint8Array) => call(() => engine.core.encodeText(type, id, field, since)),
      apply(update: Uint8Array) {
        handle.#applying = true;
        try {
          engine.write(type, id, [["yjs", field, update]]);
        } finally {
          handle.#applying = false;
        }
      },
      updates: (options?: Abortable) => handle.#queue(handle.#updates, options),
    });
  }

  get current(): string {
    return call(() => this.#engine.core.text(this.#type, this.#id, this.#field));
  }

  insert(at: number, text: string): void {
    this.#edit(["type", this.#field, at, text]);
  }

  delete(at: number, length: number): void {
    this.#edit(["erase", this.#field, at, length]);
  }

  replace(text: string): void {
    this.#edit(["retype", this.#field, text]);
  }

  mark(range: readonly [number, number], key: string, value: unknown): void {
    const [start, end] = range;
    if (end < start) throw invalid("a range goes from its start to its end");
    this.#edit(["mark", this.#field, start, end - start, key, value ?? null]);
  }

  deltas(options?: Abortable): AsyncIterable<TextDelta> {
    return this.#queue(this.#deltas, options);
  }

  #edit(edit: readonly [string, ...unknown[]]): void {
    this.#engine.write(this.#type, this.#id, [edit]);
  }

  #queue<T>(queues: Set<Queue<T>>, options: Abortable | undefined): Queue<T> {
    const queue = new Queue<T>(options?.signal, ended => {
      if (queues.delete(ended)) this.#unwatch();
    });
    if (!queue.isEnded) {
      this.#watch();
      queues.add(queue);
    }
    return queue;
  }

  protected override start(): void {
    this.#watch();
  }

  protected override stop(): void {
    this.#unwatch();
  }

  #watch(): void {
    this.#engine.openTexts.set(this.#type, this.#id, this.#field, this);
    call(() => this.#engine.core.watchText(this.#type, this.#id, this.#field));
  }

  #unwatch(): void {
    if (!this.#engine.isClosed) this.#engine.core.unwatchText(this.#type, this.#id, this.#field);
    if (!this.isWatched && this.#deltas.size === 0 && this.#updates.size === 0) {
      this.#engine.openTexts.delete(this.#type, this.#id, this.#field);
    }
  }

  /** Nothing more comes. */
  end(): void {
    for (const queue of [...this.#deltas, ...this.#updates]) queue.end();
  }

  /** The engine tells that it changed. */
  changed(changes: readonly TextChange[], update: Uint8Array | undefined): void {
    for (const change of changes) {
      // A change starts with its place, always: that is how a reader tells two of them apart.
      const delta: TextDelta[] = [{ retain: change.at }];
      if (change.gone > 0) delta.push({ delete: change.gone });
      if (change.new !== "") delta.push({ insert: change.new });
      for (const queue of this.#deltas) delta.forEach(one => queue.push(one));
    }
    if (!this.#applying && this.#updates.size > 0) {
      // Read anew after a change of what counts: the whole of it is told.
      const told = update ?? this.yjs.encode();
      for (const queue of this.#updates) queue.push(told);
    }
    this.notify();
  }
}

/** The texts that somebody watches. */
export class OpenTexts {
  readonly #open = new Map<string, TextHandle>();

  set(type: string, id: string, field: string, text: TextHandle): void {
    this.#open.set(`${type}\n${id}\n${field}`, text);
  }

  get(type: string, id: string, field: string): TextHandle | undefined {
    return this.#open.get(`${type}\n${id}\n${field}`);
  }

  delete(type: string, id: string, field: string): void {
    this.#open.delete(`${type}\n${id}\n${field}`);
  }

  /** The store has closed: nothing more comes. */
  end(): void {
    for (const text of [...this.#open.values()]) text.end();
  }
}
