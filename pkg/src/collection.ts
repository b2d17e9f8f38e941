import type { Change, Collection, Live, Schema } from "./contract.js";
import type { Edit } from "./core.js";
import type { Engine } from "./engine.js";
import { call, invalid } from "./errors.js";
import { LiveValue } from "./live.js";
import { QueryLive, type AnyEntity, type Source } from "./query.js";
import { fits, fromStored, same, setFromStored, specOf, toStored, type Spec } from "./schema.js";
import { TextHandle } from "./text.js";

/** The entities of one type. */
export class CollectionOf implements Source {
  readonly #engine: Engine;
  readonly #type: string;
  readonly #specs: readonly (readonly [name: string, spec: Spec])[];
  readonly #entities = new Map<string, AnyEntity>();
  readonly #misfits = new Map<string, number>();
  readonly #queries = new Set<QueryLive>();
  readonly #ones = new Map<string, Set<OneLive>>();
  readonly #fetching = new Map<string, (() => void)[]>();
  #whenReady: Promise<void> | undefined;
  #ready: (() => void) | undefined;
  version = 0;

  constructor(engine: Engine, type: string, fields: Schema[string]) {
    this.#engine = engine;
    this.#type = type;
    this.#specs = Object.entries(fields).map(([name, field]) => [name, specOf(field)] as const);
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
    return this.peek(id) ?? this.#entity(id, given(this.#specs, fields));
  }

  update(id: string, patch: Record<string, unknown>): void {
    const edits: Edit[] = [];
    let known: AnyEntity | undefined;
    for (const [name, value] of Object.entries(patch)) {
      const spec = this.#spec(name);
      if (spec.kind !== "register" && value !== undefined) {
        known ??= this.peek(id);
        if (!known && this.#engine.core.read(this.#type, id) === undefined) {
          throw invalid(`${this.#type}.${name} is written as the difference to what is shown: read the entity first (\`await get(id)\`)`);
        }
      }
      edits.push(...this.#assign(known, name, value));
    }
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

  /** The edits that make a field read so. */
  #assign(known: AnyEntity | undefined, name: string, value: unknown): Edit[] {
    const spec = this.#spec(name);
    if (spec.kind === "text") throw invalid(`${this.#type}.${name} is a text: edit it through its handle`);
    if (value === undefined) return [["clear", name]];
    if (spec.kind === "counter") {
      if (typeof value !== "number") throw invalid(`${this.#type}.${name} takes a number`);
      const by = value - Number(known?.[name] ?? 0);
      return by === 0 ? [] : [["add", name, by]];
    }
    if (spec.kind === "set") {
      if (!(value instanceof Set)) throw invalid(`${this.#type}.${name} takes a Set`);
      const before = (known?.[name] ?? new Set()) as ReadonlySet<unknown>;
      const gone = [...before].filter(item => !value.has(item)).map(item => ["remove", name, item] as const);
      const come = [...value].filter(item => !before.has(item)).map(item => ["insert", name, this.#item(name, item)] as const);
      return [...gone, ...come];
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

  whenReady(): Promise<void> {
    this.#watch();
    return this.#whenReady as Promise<void>;
  }

  everything(): readonly AnyEntity[] {
    const ids = this.#engine.core.ids(this.#type);
    return ids.map(id => this.peek(id)).filter(entity => entity !== undefined);
  }

  peek(id: string): AnyEntity | undefined {
    const known = this.#entities.get(id);
    if (known || this.#engine.isClosed) return known;
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
    for (const id of ids) this.#refresh(id);
    for (const query of [...this.#queries]) query.touched(ids);
    for (const id of ids) this.#ones.get(id)?.forEach(one => one.notify());
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
    for (const id of [...this.#entities.keys()]) this.#refresh(id);
    for (const query of [...this.#queries]) query.touched(undefined);
    for (const ones of this.#ones.values()) ones.forEach(one => one.notify());
    this.#ready?.();
  }

  /** Reads an entity anew; the object stays the same where it reads the same. */
  #refresh(id: string): AnyEntity | undefined {
    const raw = call(() => this.#engine.core.read(this.#type, id));
    // Between two leaders nothing is known for a moment: what was shown stays.
    if (raw === undefined) return this.#entities.get(id);
    if (raw === null || raw.deleted) {
      this.#entities.delete(id);
      this.#misfits.delete(id);
      return undefined;
    }
    let misfits = 0;
    const values: Record<string, unknown> = {};
    for (const [name, spec] of this.#specs) {
      if (spec.kind === "counter") {
        values[name] = raw.counters[name] ?? spec.fallback;
      } else if (spec.kind !== "text") {
        const read = spec.kind === "set" ? setFromStored(spec, raw.sets[name]) : fromStored(spec, raw.registers[name]);
        values[name] = read.value;
        misfits += Number(read.misfit);
      }
    }
    if (misfits > 0) this.#misfits.set(id, misfits);
    else this.#misfits.delete(id);
    const known = this.#entities.get(id);
    if (known && Object.entries(values).every(([name, value]) => same(known[name], value))) return known;
    const entity = this.#entity(id, values, known);
    this.#entities.set(id, entity);
    return entity;
  }

  #entity(id: string, values: Record<string, unknown>, before?: AnyEntity): AnyEntity {
    const entity: Record<string, unknown> = { id };
    for (const [name, spec] of this.#specs) {
      if (spec.kind === "text") {
        entity[name] = before?.[name] ?? new TextHandle(this.#engine, this.#type, id, name);
      } else {
        // What reads as before is the same value, so that memoised parts of a page stay as they are.
        entity[name] = before && same(before[name], values[name]) ? before[name] : values[name];
      }
    }
    return Object.freeze(entity) as AnyEntity;
  }
}

/** One entity, or nothing. */
class OneLive extends LiveValue<AnyEntity | undefined> {
  readonly #read: () => AnyEntity | undefined;
  readonly #whenHere: () => Promise<void>;
  readonly #watched: (watched: boolean) => void;

  constructor(read: () => AnyEntity | undefined, whenHere: () => Promise<void>, watched: (watched: boolean) => void) {
    super();
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

/** What an entity reads like that was made of these fields. */
function given(specs: readonly (readonly [string, Spec])[], fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(specs.map(([name, spec]) => [name, fields[name] ?? spec.fallback]));
}

/** The collection as its schema types it. */
export function typed<S extends Schema, K extends keyof S & string>(collection: CollectionOf): Collection<S, K> {
  return collection as unknown as Collection<S, K>;
}

export type { Live };
