import { schema, t, open } from "@privstack/sync";

export const app = schema({
  note: {
    title: t.string(), done: t.boolean().default(false), tags: t.set(t.string()), body: t.text(),
    due: t.date().optional(), extra: t.json().optional(), blob: t.bytes().optional(), size: t.number().optional(),
    likes: t.counter(), on: t.ref("board").optional(),
  },
  board: { name: t.string() },
});

/** A store in memory that closes with its test. */
export async function openStore(test, options = {}) {
  const store = await open({ name: "test", schema: app, storage: "memory", ...options });
  test.after(() => store.close());
  return store;
}

/** What a promise or a function throws. */
export async function thrown(run) {
  try {
    await run();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}

/** The next value of a live value that passes. */
export function until(live, passes) {
  return new Promise(resolve => {
    let stop = () => {};
    let done = false;
    stop = live.subscribe(value => {
      if (!done && passes(value)) {
        done = true;
        queueMicrotask(() => stop());
        resolve(value);
      }
    });
  });
}
