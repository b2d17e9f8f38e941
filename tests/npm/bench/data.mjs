// What all of them write: ten sets of 25 characters on each entity, each of another field, 1,000 sets a commit.
export const BATCH = 1_000;
export const FIELDS = Array.from({ length: 10 }, (_, at) => `f${at}`);

/** 25 characters, different everywhere. */
export const value = (entity, pass) => `${entity * 10 + pass} `.padEnd(25, "abcdefghijklmnopqrstuvwxyz");

export const idle = () => new Promise(resolve => setTimeout(resolve, 60));

/** Milliseconds of each of `count` runs, on an idle page. */
export async function timed(count, run) {
  const took = [];
  for (let at = 0; at < count; at += 1) {
    await idle();
    const start = performance.now();
    await run(at);
    took.push(performance.now() - start);
  }
  return took;
}
