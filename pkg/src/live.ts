import type { Live, Unsubscribe } from "./contract.js";

/** Runs what an app gave; what it throws is the app's, and stops nobody else. */
export function guarded(run: () => void): void {
  try {
    run();
  } catch (error) {
    if (typeof reportError === "function") return reportError(error);
    queueMicrotask(() => {
      throw error;
    });
  }
}

/** Tells when a store has closed. */
export class Life {
  isOver = false;
  readonly #ends = new Set<() => void>();

  /** Runs this at the end, unless what it gives is called before. */
  atEnd(run: () => void): () => void {
    this.#ends.add(run);
    return () => this.#ends.delete(run);
  }

  end(): void {
    this.isOver = true;
    for (const end of [...this.#ends]) end();
    this.#ends.clear();
  }
}

/** A value that keeps itself current, for as long as its store is open. */
export abstract class LiveValue<T> implements Live<T> {
  readonly #life: Life;
  readonly #listeners = new Set<(value: T) => void>();
  #told: T | undefined;

  constructor(life: Life) {
    this.#life = life;
  }

  /** The value now: the same reference as long as nothing changed. */
  abstract get current(): T;
  /** The first and the last listener come and go. */
  protected start(): void {}
  protected stop(): void {}
  /** Resolves when there is a first value worth waiting for. */
  protected ready(): Promise<void> {
    return Promise.resolve();
  }

  protected get isWatched(): boolean {
    return this.#listeners.size > 0;
  }

  subscribe(run: (value: T) => void): Unsubscribe {
    // A listener of its own for each call, even of the same function.
    const listener = (value: T) => run(value);
    if (this.#listeners.size === 0) this.start();
    else this.notify(); // the others, of what gathers
    this.#listeners.add(listener);
    this.#told = this.current;
    guarded(() => listener(this.#told as T));
    return () => {
      if (this.#listeners.delete(listener) && this.#listeners.size === 0) this.stop();
    };
  }

  /** Something may have changed. */
  notify(): void {
    if (this.#listeners.size === 0) return;
    const value = this.current;
    if (Object.is(value, this.#told)) return;
    this.#told = value;
    for (const listener of [...this.#listeners]) guarded(() => listener(value));
  }

  /**
   * The value, once it is there, and then each newer one; of several that came meanwhile, the last. Ends when the store
   * closes.
   */
  async *[Symbol.asyncIterator](): AsyncIterator<T, undefined> {
    if (this.#life.isOver) return;
    let wake = () => {};
    const release = this.#life.atEnd(() => wake());
    let stop = () => {};
    try {
      await new Promise<void>((resolve, reject) => {
        wake = resolve;
        this.ready().then(resolve, reject);
      });
      if (this.#life.isOver) return;
      let fresh = true;
      stop = this.subscribe(() => {
        fresh = true;
        wake();
      });
      for (;;) {
        if (fresh) {
          fresh = false;
          yield this.current;
        } else {
          if (this.#life.isOver) return;
          await new Promise<void>(resolve => (wake = resolve));
        }
      }
    } finally {
      stop();
      release();
    }
  }
}

/** A value that is set from outside. */
export class LiveCell<T> extends LiveValue<T> {
  #value: T;
  #start: () => void;

  constructor(life: Life, value: T, start: () => void = () => {}) {
    super(life);
    this.#value = value;
    this.#start = start;
  }

  get current(): T {
    return this.#value;
  }

  protected override start(): void {
    this.#start();
  }

  set(value: T): void {
    this.#value = value;
    this.notify();
  }
}

/** Items that wait for one reader, at most so many: the oldest give way, and the reader goes on with the rest. */
export class Queue<T> implements AsyncIterable<T> {
  #items: T[];
  #wake = () => {};
  #ended = false;
  #limit: number;
  #end: (queue: Queue<T>) => void;

  constructor(signal: AbortSignal | undefined, end: (queue: Queue<T>) => void, first: readonly T[] = [], limit = 1_024) {
    this.#items = [...first];
    this.#limit = limit;
    this.#end = end;
    if (signal?.aborted) this.end();
    signal?.addEventListener("abort", () => this.end(), { once: true });
  }

  push(item: T): void {
    if (this.#ended) return;
    this.#items.push(item);
    if (this.#items.length > this.#limit) this.#items.shift();
    this.#wake();
  }

  get isEnded(): boolean {
    return this.#ended;
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#end(this);
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<T, undefined> {
    try {
      for (;;) {
        while (this.#items.length > 0) yield this.#items.shift() as T;
        if (this.#ended) return;
        await new Promise<void>(resolve => (this.#wake = resolve));
      }
    } finally {
      this.end();
    }
  }
}

/** Symbol.asyncDispose where the platform has it. */
export const asyncDispose: typeof Symbol.asyncDispose = Symbol.asyncDispose ?? (Symbol.for("Symbol.asyncDispose") as never);
