import type { Change, Collection, Live, Schema } from "./contract.js";
import { after, difference, type Held } from "./assign.js";
import { idsOf, type Edit } from "./core.js";
import type { Engine } from "./engine.js";
import { call, invalid } from "./errors.js";
import { guarded, LiveValue, type Life } from "./live.js";
import { QueryLive, type AnyEntity, type Source } from "./query.js";
import { fits, fromStored, same, setFromStored, specOf, toStored, type Spec } from "./schema.js";
import { TextHandle } from "./text.js";

/** What `readMany` says of an entity that it does not show by its fields. */
const MANY_UNKNOWN = 0;
const MANY_GONE = 1;
const MANY_BY_ITSELF = 2;
/** Entities that are read at once: more would take memory, and not be quicker. */
const READ_AT_ONCE = 1_000;
type Many = typeof MANY_UNKNOWN | typeof MANY_GONE | typeof MANY_BY_ITSELF | readonly unknown[];

/** The entities of one type. */
export class CollectionOf implements Source {
  readonly #engine: Engine;
  readonly #type: string;
  readonly #specs: readonly (readonly [name: string, spec: Spec])[];
  readonly #entities = new Map<string, AnyEntity>();
  /** Entities that have changed since they were read. */
  readonly #stale = new Set<string>();
  /** The schema's fields, for reading many entities at once. */
  readonly #wanted: string;
  readonly #misfits = new Map<string, number>();
  readonly #queries = new Set<QueryLive>();
  readonly #ones = new Map<string, Set<OneLive>>();
  readonly #fetching = new Map<string, (() => void)[]>();
  #whenReady: Promise<void> | undefined;
  #ready: (() => void) | undefined;
  version = 0;
  /** The ids of all, for as long as queries look at them. */
  #here: readonly string[] | undefined;

  constructor(engine: Engine, type: string, fields: Schema[string]) {
    this.#engine = engine;
    this.#type = type;
    this.#specs = Object.entries(fields).map(([name, field]) => [name, specOf(field)] as const);
    this.#wanted = JSON.stringify(this.#specs.map(([name, { kind }]) => [kind, name]));
  }

  /** The names of its texts. */
  get texts(): string[] {
    return this.#specs.filter(([, { kind }]) => kind === "text").map(([name]) => name);
  }

  /** Remote values that do not fit the schema. */
  get misfits(): number {
    let count = 0;
    for (const misfits of this.#misfits.values()) count += misfits;
    return count;
  }

  // ---- writing ------------------------------------------------------------------------------------------------------

  create(fields: Record<string, unknown>): AnyEntity {
    const id = this.#engine.core.newId();
    const edits: Edit[] = [["create"]];
    for (const [name, value] of Object.entries(fields)) {
      if (value !== undefined) edits.push(...this.#assign(undefined, name, value));
    }
    this.#engine.write(this.#type, id, edits);
    // In a batch it is not written yet: then it is what was given.
    return this.peek(id) ?? this.#draft(id, fields);
  }

  update(id: string, patch: Record<string, unknown>): void {
    const edits = Object.entries(patch).flatMap(([name, value]) => this.#assign(id, name, value));
    this.#engine.write(this.#type, id, edits);
  }

  delete(id: string): void {
    this.#engine.write(this.#type, id, [["delete"]]);
  }

  restore(id: string): void {
    this.#engine.write(this.#type, id, [["restore"]]);
  }

  increment(id: string, field: string, by = 1): void {
    this.#spec(field, "counter");
    this.#engine.write(this.#type, id, [["add", field, by]]);
  }

  insert(id: string, field: string, item: string | number): void {
    this.#engine.write(this.#type, id, [["insert", field, this.#item(field, item)]]);
  }

  remove(id: string, field: string, item: string | number): void {
    this.#engine.write(this.#type, id, [["remove", field, this.#item(field, item)]]);
  }

  #spec(name: string, kind?: Spec["kind"]): Spec {
    const spec = this.#specs.find(([known]) => known === name)?.[1];
    if (!spec) throw invalid(`${this.#type} has no field \`${name}\` in its schema`);
    if (kind && spec.kind !== kind) throw invalid(`${this.#type}.${name} is no ${kind}`);
    return spec;
  }

  #item(field: string, item: unknown): unknown {
    if (typeof item !== this.#spec(field, "set").item) throw invalid(`${this.#type}.${field}: this item does not fit the set`);
    return item;
  }

  /** What a counter or a set holds, in a batch with what that has written. */
  #held(id: string, name: string, spec: Spec): Held {
    const unwritten = this.#engine.unwritten(this.#type, id);
    if (unwritten[0]?.[0] === "create") return after(undefined, unwritten, name);
    const raw = call(() => this.#engine.core.read(this.#type, id));
    if (raw) {
      const stored = spec.kind === "set" ? raw.sets[name] && setFromStored(spec, raw.sets[name]).value : raw.counters[name];
      return after(stored, unwritten, name);
    }
    const shown: Record<string, unknown> | undefined = raw === undefined ? this.peek(id) : {};
    if (!shown) throw invalid(`${this.#type}.${name} is written as the difference to what is there: read the entity first (\`await get(id)\`)`);
    return after(shown[name] as Held, unwritten, name);
  }

  /** The edits that make a field read so; without an id, of a new entity. */
  #assign(id: string | undefined, name: string, value: unknown): Edit[] {
    const spec = this.#spec(name);
    if (spec.kind === "text") throw invalid(`${this.#type}.${name} is a text: edit it through its handle`);
    if (value === undefined) return [["clear", name]];
    if (spec.kind === "counter" || spec.kind === "set") {
      if (spec.kind === "counter" && typeof value !== "number") throw invalid(`${this.#type}.${name} takes a number`);
      if (spec.kind === "set" && !(value instanceof Set)) throw invalid(`${this.#type}.${name} takes a Set`);
      if (value instanceof Set) for (const item of value) this.#item(name, item);
      const held = id === undefined ? undefined : this.#held(id, name, spec);
      // Where nothing was written, the default shows: a zero over another default has to be written.
      if (held === undefined && value === 0 && spec.fallback !== 0) return [["add", name, 0]];
      return difference(name, held, value as number | ReadonlySet<unknown>);
    }
    if (!fits(spec, value)) throw invalid(`${this.#type}.${name}: this value does not fit a ${spec.sort} field`);
    return [["set", name, toStored(value)]];
  }

  // ---- reading ------------------------------------------------------------------------------------------------------

  async get(id: string): Promise<AnyEntity | undefined> {
    while (call(() => this.#engine.core.read(this.#type, id)) === undefined) await this.#fetch(id);
    return this.peek(id);
  }

  #fetch(id: string): Promise<void> {
    return new Promise(resolve => {
      const waiting = this.#fetching.get(id);
      if (waiting) waiting.push(resolve);
      else this.#fetching.set(id, [resolve]);
      call(() => this.#engine.core.fetch(this.#type, id));
    });
  }

  one(id: string): LiveValue<AnyEntity | undefined> {
    const one: OneLive = new OneLive(
      this.life,
      () => this.peek(id),
      () => this.get(id).then(() => {}),
      watched => {
        const ones = this.#ones.get(id) ?? new Set();
        if (watched) this.#ones.set(id, ones.add(one));
        else if (ones.delete(one) && ones.size === 0) this.#ones.delete(id);
      },
    );
    if (call(() => this.#engine.core.read(this.#type, id)) === undefined) this.#engine.core.fetch(this.#type, id);
    return one;
  }

  all(query?: ConstructorParameters<typeof QueryLive>[1]): QueryLive {
    this.#watch();
    return new QueryLive(this, query);
  }

  async history(id: string): Promise<readonly Change[]> {
    await this.#engine.saved();
    type Told = { at: number; by: string; clock: [string, number][]; fields: string[] };
    const told = await this.#engine.ask<Told[]>("history", id);
    return told.map(({ at, by, clock, fields }) => ({ at: new Date(at), by, clock: Object.fromEntries(clock), fields }));
  }

  #watch(): void {
    if (this.#whenReady) return;
    this.#whenReady = new Promise(resolve => (this.#ready = resolve));
    call(() => this.#engine.core.watch(this.#type));
  }

  // ---- what queries need --------------------------------------------------------------------------------------------

  get life(): Life {
    return this.#engine.life;
  }

  whenReady(): Promise<void> {
    this.#watch();
    return this.#whenReady as Promise<void>;
  }

  everything(): readonly AnyEntity[] {
    const ids = this.#here ?? idsOf(this.#engine.core.ids(this.#type));
    this.refresh(ids);
    return ids.map(id => this.#entities.get(id)).filter(entity => entity !== undefined);
  }

  peek(id: string): AnyEntity | undefined {
    const known = this.#entities.get(id);
    if (this.#engine.isClosed || (known && !this.#stale.has(id))) return known;
    return this.#refresh(id);
  }

  hold(query: QueryLive): void {
    this.#queries.add(query);
  }

  release(query: QueryLive): void {
    this.#queries.delete(query);
  }

  // ---- news ---------------------------------------------------------------------------------------------------------

  changed(ids: readonly string[]): void {
    this.version += 1;
    for (const id of ids) if (this.#entities.has(id)) this.#stale.add(id);
    for (const query of [...this.#queries]) query.touched(ids);
    if (this.#ones.size > 0) for (const id of ids) this.#ones.get(id)?.forEach(one => one.notify());
  }

  fetched(ids: readonly string[]): void {
    for (const id of ids) {
      const waiting = this.#fetching.get(id) ?? [];
      this.#fetching.delete(id);
      for (const resolve of waiting) resolve();
    }
  }

  /** All of them are here: what is not among them is gone. */
  everythingCame(): void {
    this.version += 1;
    this.#here = idsOf(this.#engine.core.ids(this.#type));
    const here = new Set(this.#here);
    for (const id of this.#entities.keys()) if (!here.has(id)) this.#stale.add(id);
    for (const query of [...this.#queries]) guarded(() => query.touched(undefined));
    this.#here = undefined;
    for (const ones of this.#ones.values()) ones.forEach(one => one.notify());
    this.#ready?.();
  }

  refresh(ids: readonly string[]): void {
    if (this.#engine.isClosed) return;
    const wanted = ids.filter(id => this.#stale.has(id) || !this.#entities.has(id));
    for (let from = 0; from < wanted.length; from += READ_AT_ONCE) this.#readMany(wanted.slice(from, from + READ_AT_ONCE));
  }

  #readMany(ids: readonly string[]): void {
    const read = call(() => this.#engine.core.readMany(this.#type, this.#wanted, ids.join("")));
    (JSON.parse(read) as Many[]).forEach((item, at) => {
      const id = ids[at] as string;
      if (item === MANY_BY_ITSELF) this.#refresh(id);
      else if (item === MANY_GONE) this.#gone(id);
      else if (item !== MANY_UNKNOWN) this.#read(id, item);
    });
  }

  /** Reads an entity anew; the object stays the same where it reads the same. */
  #refresh(id: string): AnyEntity | undefined {
    const raw = call(() => this.#engine.core.read(this.#type, id));
    // Between two leaders nothing is known for a moment: what was shown stays.
    if (raw === undefined) return this.#entities.get(id);
    if (raw === null || raw.deleted) return this.#gone(id);
    const kinds = { register: raw.registers, counter: raw.counters, set: raw.sets };
    const item = this.#specs.flatMap(([name, { kind }], at) => {
      const stored = kind === "text" ? undefined : kinds[kind][name];
      return stored === undefined ? [] : [at, stored];
    });
    return this.#read(id, item);
  }

  #gone(id: string): undefined {
    this.#stale.delete(id);
    this.#entities.delete(id);
    this.#misfits.delete(id);
    return undefined;
  }

  /** Takes what was read: `[number of the field, its stored value, …]`. */
  #read(id: string, item: readonly unknown[]): AnyEntity {
    this.#stale.delete(id);
    const stored = new Array<unknown>(this.#specs.length);
    for (let at = 0; at < item.length; at += 2) stored[item[at] as number] = item[at + 1];
    const known = this.#entities.get(id);
    const entity: Record<string, unknown> = { id };
    let misfits = 0;
    let changed = known === undefined;
    this.#specs.forEach(([name, spec], at) => {
      if (spec.kind === "text") {
        entity[name] = known?.[name] ?? new TextHandle(this.#engine, this.#type, id, name);
        return;
      }
      let value: unknown;
      if (spec.kind === "counter") {
        value = stored[at] ?? spec.fallback;
      } else {
        const read = spec.kind === "set" ? setFromStored(spec, stored[at] as readonly unknown[] | undefined) : fromStored(spec, stored[at]);
        value = read.value;
        misfits += Number(read.misfit);
      }
      // What reads as before is the same value, so that memoised parts of a page stay as they are.
      if (known && same(known[name], value)) value = known[name];
      else changed = true;
      entity[name] = value;
    });
    if (misfits > 0) this.#misfits.set(id, misfits);
    else this.#misfits.delete(id);
    if (known && !changed) return known;
    const frozen = Object.freeze(entity) as AnyEntity;
    this.#entities.set(id, frozen);
    return frozen;
  }

  /** What an entity reads like that was made of these fields and is not written yet. */
  #draft(id: string, fields: Record<string, unknown>): AnyEntity {
    const entity: Record<string, unknown> = { id };
    for (const [name, spec] of this.#specs) {
      entity[name] = spec.kind === "text" ? new TextHandle(this.#engine, this.#type, id, name) : fields[name] ?? spec.fallback;
    }
    return Object.freeze(entity) as AnyEntity;
  }
}

/** One entity, or nothing. */
class OneLive extends LiveValue<AnyEntity | undefined> {
  readonly #read: () => AnyEntity | undefined;
  readonly #whenHere: () => Promise<void>;
  readonly #watched: (watched: boolean) => void;

  constructor(life: Life, read: () => AnyEntity | undefined, whenHere: () => Promise<void>, watched: (watched: boolean) => void) {
    super(life);
    this.#read = read;
    this.#whenHere = whenHere;
    this.#watched = watched;
  }

  get current(): AnyEntity | undefined {
    return this.#read();
  }

  protected override start(): void {
    this.#watched(true);
  }

  protected override stop(): void {
    this.#watched(false);
  }

  protected override ready(): Promise<void> {
    return this.#whenHere();
  }
}

/** The collection as its schema types it. */
export function typed<S extends Schema, K extends keyof S & string>(collection: CollectionOf): Collection<S, K> {
  return collection as unknown as Collection<S, K>;
}

export type { Live };
