import type { Edit } from "./core.js";

/** What counters and sets hold; undefined where nothing was written. */
export type Held = number | ReadonlySet<unknown> | undefined;

/** What a counter or a set holds after these edits of its entity. */
export function after(held: Held, edits: readonly Edit[], name: string): Held {
  for (const [what, field, by] of edits) {
    if (field !== name) continue;
    if (what === "clear") held = undefined;
    else if (what === "add") held = Number(held ?? 0) + Number(by);
    else if (what === "insert") held = new Set([...items(held), by]);
    else if (what === "remove") held = new Set([...items(held)].filter(item => item !== by));
  }
  return held;
}

/** The edits that make a counter or a set hold this, from what it holds. */
export function difference(name: string, held: Held, wanted: number | ReadonlySet<unknown>): Edit[] {
  if (typeof wanted === "number") {
    const by = wanted - Number(held ?? 0);
    return by === 0 ? [] : [["add", name, by]];
  }
  const before = items(held);
  const gone = [...before].filter(item => !wanted.has(item)).map(item => ["remove", name, item] as const);
  const come = [...wanted].filter(item => !before.has(item)).map(item => ["insert", name, item] as const);
  return [...gone, ...come];
}

function items(held: Held): ReadonlySet<unknown> {
  return held instanceof Set ? held : new Set();
}
