import type * as Contract from "./contract.js";
import type { Field, Schema } from "./contract.js";
import { invalid } from "./errors.js";

export type Kind = "register" | "counter" | "set" | "text";
type Sort = "string" | "number" | "boolean" | "bytes" | "date" | "json" | "ref" | "counter" | "set" | "text";

/** How a field is kept and read. */
export interface Spec {
  readonly kind: Kind;
  readonly sort: Sort;
  readonly optional: boolean;
  readonly fallback: unknown;
  /** Of a set: the sort of its items. */
  readonly item?: Sort;
}

class FieldSpec<T> implements Field<T> {
  declare readonly "~type"?: T;
  readonly spec: Spec;

  constructor(spec: Spec) {
    this.spec = spec;
  }

  optional(): Field<T | undefined> {
    return new FieldSpec<T | undefined>({ ...this.spec, optional: true, fallback: undefined });
  }

  default(value: T): Field<T> {
    if (this.spec.kind === "text") throw invalid("a text field has no default: it starts empty");
    if (this.spec.kind === "register" && !fits(this.spec, value)) throw invalid(`the default does not fit a ${this.spec.sort} field`);
    return new FieldSpec<T>({ ...this.spec, fallback: value });
  }
}

function field<T>(sort: Sort, kind: Kind, fallback: unknown, item?: Sort): Field<T> {
  return new FieldSpec<T>({ kind, sort, optional: false, fallback, ...(item === undefined ? {} : { item }) });
}

const EMPTY: ReadonlySet<never> = Object.freeze(new Set<never>());

/** The sorts of fields. */
export const t: typeof Contract.t = Object.freeze({
  string: () => field<string>("string", "register", ""),
  number: () => field<number>("number", "register", 0),
  boolean: () => field<boolean>("boolean", "register", false),
  bytes: () => field<Uint8Array>("bytes", "register", new Uint8Array()),
  date: () => field<Date>("date", "register", new Date(0)),
  json: () => field<any>("json", "register", null),
  ref: (_type: string) => field<string>("ref", "register", ""),
  counter: () => field<number>("counter", "counter", 0),
  set: (item: Field<any>) => field<ReadonlySet<any>>("set", "set", EMPTY, specOf(item).sort),
  text: () => field<any>("text", "text", undefined),
}) as never;

/** What a field was declared as. */
export function specOf(value: unknown): Spec {
  if (!(value instanceof FieldSpec)) throw invalid("a field of a schema is made by `t.string()`, `t.number()` and so on");
  return value.spec;
}

/** Checks a schema once; its types are those of its fields. */
export function schema<const S extends Schema>(types: S): S {
  for (const [type, fields] of Object.entries(types)) {
    for (const [name, value] of Object.entries(fields)) {
      if (name === "id") throw invalid(`${type}: every entity has an \`id\` of its own; give the field another name`);
      const spec = specOf(value);
      if (spec.item !== undefined && spec.item !== "string" && spec.item !== "number") {
        throw invalid(`${type}.${name}: the items of a set are strings or numbers`);
      }
    }
  }
  return types;
}

/** Whether a value that an app gives, or that was read, fits a register. */
export function fits(spec: Spec, value: unknown): boolean {
  switch (spec.sort) {
    case "string":
    case "ref": return typeof value === "string";
    case "number": return typeof value === "number";
    case "boolean": return typeof value === "boolean";
    case "bytes": return value instanceof Uint8Array;
    case "date": return value instanceof Date && Number.isFinite(value.getTime());
    default: return value !== undefined;
  }
}

/** What is stored for a value. */
export function toStored(value: unknown): unknown {
  return value instanceof Date ? value.getTime() : value;
}

/** What a register reads as; `misfit` where somebody else stored what the schema does not take. */
export function fromStored(spec: Spec, stored: unknown): { value: unknown; misfit: boolean } {
  if (stored === undefined) return { value: spec.fallback, misfit: false };
  const value = spec.sort === "date" && typeof stored === "number" ? new Date(stored) : stored;
  return fits(spec, value) ? { value, misfit: false } : { value: spec.fallback, misfit: true };
}

/** What a set reads as. */
export function setFromStored(spec: Spec, stored: readonly unknown[] | undefined): { value: ReadonlySet<unknown>; misfit: boolean } {
  if (stored === undefined) return { value: spec.fallback as ReadonlySet<unknown>, misfit: false };
  const items = stored.filter(item => typeof item === spec.item);
  return { value: new Set(items), misfit: items.length < stored.length };
}

interface Stored {
  readonly registers: Record<string, unknown>; readonly counters: Record<string, number>;
  readonly sets: Record<string, readonly unknown[]>; readonly texts: Record<string, string>;
}

/** The fields of an entity that is no part of a collection, its texts as strings: those of its schema, or where it has
 *  none all that there are. */
export function fieldsOf(fields: Schema[string] | undefined, stored: Stored): Record<string, unknown> {
  const { registers, counters, sets, texts } = stored;
  if (!fields) return { ...registers, ...counters, ...Object.fromEntries(Object.entries(sets).map(([name, items]) => [name, new Set(items)])), ...texts };
  return Object.fromEntries(Object.entries(fields).map(([name, field]) => {
    const spec = specOf(field);
    switch (spec.kind) {
      case "text": return [name, texts[name] ?? ""];
      case "counter": return [name, counters[name] ?? spec.fallback];
      case "set": return [name, setFromStored(spec, sets[name]).value];
      case "register": return [name, fromStored(spec, registers[name]).value];
    }
  }));
}

/** Whether two values of a field read the same. */
export function same(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (a instanceof Date && b instanceof Date) return a.getTime() === b.getTime();
  if (a instanceof Uint8Array && b instanceof Uint8Array) return a.length === b.length && a.every((byte, at) => byte === b[at]);
  if (a instanceof Set && b instanceof Set) return a.size === b.size && [...a].every(item => b.has(item));
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  return JSON.stringify(a) === JSON.stringify(b);
}
