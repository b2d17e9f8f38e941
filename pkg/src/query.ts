import type { Query } from "./contract.js";
import { invalid } from "./errors.js";
import { LiveValue, type Life } from "./live.js";
import { same } from "./schema.js";

/** An entity, whatever its schema. */
export type AnyEntity = { readonly id: string } & Record<string, unknown>;
type AnyQuery = Query<any, any>;
type Compare = (a: AnyEntity, b: AnyEntity) => number;

/** So many changes at once are somebody's edits, and show at once. More are a sync or a page of entities. */
const FEW = 20;
/** How long those gather before they show. */
const GATHER_MS = 100;
const MAX_GATHER_MS = 1_000;
/** How many times as long as it took to show them the last time: the page is there for more than this list. */
const GATHER_TIMES = 4;

const byId: Compare = (a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);

/** What a query needs of its collection. */
export interface Source {
  readonly life: Life;
  /** All entities that are not deleted, in the order of their ids. */
  everything(): readonly AnyEntity[];
  /** Reads those of these anew that have changed, all at once. */
  refresh(ids: readonly string[]): void;
  peek(id: string): AnyEntity | undefined;
  /** Grows with each change. */
  readonly version: number;
  whenReady(): Promise<void>;
  /** Tells the query of changes, until it is let go. */
  hold(query: QueryLive): void;
  release(query: QueryLive): void;
}

/** The entities that a query picks. While somebody watches, a change that touches none of them costs one comparison. */
export class QueryLive extends LiveValue<readonly AnyEntity[]> {
  readonly #source: Source;
  readonly #query: AnyQuery;
  readonly #matches: (entity: AnyEntity) => boolean;
  readonly #compare: Compare;
  #picked = new Map<string, AnyEntity>();
  /** All picked, in order; `#rows` is the part of them that the query asks for. */
  #sorted: AnyEntity[] = [];
  #rows: readonly AnyEntity[] = Object.freeze([]);
  /** Entities that have changed and were not looked at yet. */
  #missed: string[] = [];
  /** When they may be shown, and what waits for that. */
  #showAt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** The collection's version that `#picked` stands for; nobody tells of changes while nobody watches. */
  #version = -1;

  constructor(source: Source, query: AnyQuery = {}) {
    super(source.life);
    this.#source = source;
    this.#query = query;
    for (const [name, value] of Object.entries({ limit: query.limit, offset: query.offset })) {
      if (value !== undefined && !(Number.isInteger(value) && value >= 0)) throw invalid(`${name} is a whole number from 0`);
    }
    this.#matches = matcher(query.where);
    const by = order(query.orderBy as string | undefined);
    this.#compare = by ? (a, b) => by(a, b) || byId(a, b) : byId;
  }

  get current(): readonly AnyEntity[] {
    if (!this.isWatched) {
      if (this.#version !== this.#source.version) this.#pickAll();
    } else if (this.#missed.length > 0) {
      this.#pick(this.#missed.splice(0));
    }
    return this.#rows;
  }

  protected override start(): void {
    this.#source.hold(this);
    this.#pickAll();
  }

  protected override stop(): void {
    this.#source.release(this);
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  protected override ready(): Promise<void> {
    return this.#source.whenReady();
  }

  /** These entities read otherwise; all of them: `undefined`. */
  touched(ids: readonly string[] | undefined): void {
    if (ids === undefined) {
      this.#pickAll();
      this.notify();
    } else if (ids.length <= FEW && this.#missed.length === 0) {
      this.#pick(ids);
      this.notify();
    } else {
      for (const id of ids) this.#missed.push(id);
      // A list that changes many times a second helps nobody; somebody's edits do not wait for what gathers.
      const wait = ids.length <= FEW ? 0 : this.#showAt - performance.now();
      if (wait <= 0) this.#show();
      else this.#timer ??= setTimeout(() => this.#show(), wait);
    }
  }

  #show(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const start = performance.now();
    this.notify();
    const now = performance.now();
    this.#showAt = now + Math.min(Math.max(GATHER_TIMES * (now - start), GATHER_MS), MAX_GATHER_MS);
  }

  #pick(ids: readonly string[]): void {
    this.#source.refresh(ids);
    const gone = new Set<AnyEntity>();
    const come: AnyEntity[] = [];
    for (const id of ids) {
      const entity = this.#source.peek(id);
      const before = this.#picked.get(id);
      const after = entity !== undefined && this.#matches(entity) ? entity : undefined;
      if (before === after) continue;
      if (before) gone.add(before);
      if (after) {
        this.#picked.set(id, after);
        come.push(after);
      } else {
        this.#picked.delete(id);
      }
    }
    this.#version = this.#source.version;
    if (gone.size === 0 && come.length === 0) return;
    const kept = gone.size === 0 ? this.#sorted : this.#sorted.filter(entity => !gone.has(entity));
    this.#sorted = merged(kept, come.sort(this.#compare), this.#compare);
    this.#cut();
  }

  #pickAll(): void {
    this.#missed = [];
    const before = this.#picked;
    this.#picked = new Map();
    const come: AnyEntity[] = [];
    for (const entity of this.#source.everything()) {
      if (!this.#matches(entity)) continue;
      this.#picked.set(entity.id, entity);
      if (before.get(entity.id) !== entity) come.push(entity);
    }
    this.#version = this.#source.version;
    const kept = this.#sorted.filter(entity => this.#picked.get(entity.id) === entity);
    this.#sorted = merged(kept, come.sort(this.#compare), this.#compare);
    this.#cut();
  }

  #cut(): void {
    const offset = this.#query.offset ?? 0;
    const rows = this.#sorted.slice(offset, this.#query.limit === undefined ? undefined : offset + this.#query.limit);
    const old = this.#rows;
    if (rows.length === old.length && rows.every((row, at) => row === old[at])) return;
    this.#rows = Object.freeze(rows);
  }
}

/** Two lists that are in order, as one. Comparing is what costs: each on the right looks for its place by halving. */
function merged(left: readonly AnyEntity[], right: readonly AnyEntity[], compare: Compare): AnyEntity[] {
  const all: AnyEntity[] = [];
  let at = 0;
  for (const entity of right) {
    let [low, high] = [at, left.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (compare(left[middle] as AnyEntity, entity) < 0) low = middle + 1;
      else high = middle;
    }
    while (at < low) all.push(left[at++] as AnyEntity);
    all.push(entity);
  }
  while (at < left.length) all.push(left[at++] as AnyEntity);
  return all;
}

function matcher(where: AnyQuery["where"]): (entity: AnyEntity) => boolean {
  if (where === undefined) return () => true;
  if (typeof where === "function") return where as (entity: AnyEntity) => boolean;
  const wanted = Object.entries(where);
  return entity => wanted.every(([name, value]) => same(entity[name], value));
}

function order(by: string | undefined): Compare | undefined {
  if (by === undefined) return undefined;
  const down = by.startsWith("-");
  const name = down ? by.slice(1) : by;
  return (a, b) => (down ? -1 : 1) * compare(a[name], b[name]);
}

/** Nothing comes last; numbers, dates and booleans by their size, whatever else by its text. */
function compare(a: unknown, b: unknown): number {
  if (typeof a === "string" && typeof b === "string") return a < b ? -1 : a > b ? 1 : 0;
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (a === undefined || b === undefined) return Number(a === undefined) - Number(b === undefined);
  const [x, y] = [a, b].map(value => (value instanceof Date || typeof value === "boolean" ? Number(value) : value));
  if (typeof x === "number" && typeof y === "number") return x - y;
  const [left, right] = [String(x), String(y)];
  return left < right ? -1 : left > right ? 1 : 0;
}
