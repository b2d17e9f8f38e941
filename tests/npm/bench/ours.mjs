// The rows of the package itself.
import assert from "node:assert/strict";
import { cpu } from "./cpu.mjs";
import { ENTITIES, EVENTS, RUNS, call, quick, times } from "./harness.mjs";

const of = "privstack";
/** Longer than the engine waits until it takes it for quiet. */
const QUIET = 5_000;
const W2 = `W2, ${EVENTS.toLocaleString("en-US")} events`;
const on = page => (name, ...args) => call(page, "/built/page.js", name, ...args);

/** Asserts that two devices show the same, by what `digests` gives. */
async function equal(one, other) {
  const digests = await Promise.all([one, other]);
  assert.deepEqual(digests[0], digests[1], "both sides show the same");
}

/** Devices in one page, with a network in memory. */
export async function inOnePage(bench, report) {
  const row = { browser: bench.name, workload: of };
  const page = await bench.page();
  const run = on(page);
  await run("begin", "source", { storage: "memory", local: true });
  const start = performance.now();
  await run("fill", "source", ENTITIES);
  report.add({ ...row, row: `written locally, ${W2}, commits of 1,000`, unit: "events/s", raw: [EVENTS / (performance.now() - start) * 1e3] });

  /** First syncs of new devices, the first of them to warm up: the wasm is compiled to be fast meanwhile. */
  const firsts = async (kind, storage, watched) => {
    const figures = await times(RUNS + 1, async at => {
      const name = `${kind} ${at}`;
      await run("begin", name, { storage, local: true });
      await run("join", name, "source");
      if (watched) await run("watch", name);
      const measured = await cpu(() => run("first", name, "source"));
      const [one, other] = await run("digests", "source", name);
      assert.equal(one, other, "both sides show the same");
      if (watched) assert.equal(await run("rows"), ENTITIES);
      if (at < RUNS || kind !== "disk") await run("close", name);
      return measured;
    });
    figures.shift();
    const rate = pick => figures.map(figure => EVENTS / pick(figure));
    return { page: rate(figure => figure.page), all: rate(figure => figure.all), wall: rate(figure => figure.result / 1e3) };
  };
  const { wall, page: thread, all } = await firsts("memory", "memory");
  const name = `first sync, ${W2}, memory`;
  if (process.platform !== "linux") report.omit({ ...row, row: name, why: "a thread's CPU time is read on Linux only" });
  else {
    report.add({
      ...row, row: name, unit: "events/CPU s", raw: thread, aim: "270,000", wall, all,
      note: "both devices in one page; CPU time of the page's thread",
    });
  }
  for (const [kind, watched] of [["watched", true], ["disk", false]]) {
    const { wall: raw, ...cpu } = await firsts(kind, undefined, watched);
    report.add({
      ...row, row: `first sync, ${W2}, from memory into IndexedDB, one page${watched ? ", a sorted list of all watching" : ""}`,
      unit: "events/s", raw, aim: watched ? null : "100,000", note: "wall time, network in memory", ...cpu,
    });
  }
  const kept = `disk ${RUNS}`;
  report.add({ ...row, row: "nothing changed, asked by the new device, one page", unit: "ms", raw: await run("nothing", kept, 20) });
  report.add({ ...row, row: "nothing changed, asked by the other, one page", unit: "ms", raw: await run("nothing", "source", 20) });
  const bytes = await run("memory");
  report.add({ ...row, row: `wasm memory of the page with both devices, ${W2}`, unit: "MB", raw: [bytes / 1e6] });
  await page.context().close();
}

/** Two contexts of a browser, with a relay on loopback between them. */
export async function throughRelay(bench, report) {
  const row = { browser: bench.name, workload: of };
  const relays = [await bench.relay()];
  const [sourcePage, ...pages] = await times(RUNS + 1, () => bench.page());
  const source = on(sourcePage);
  await source("begin", "source", { relays });
  await source("fill", "source", ENTITIES);
  const raw = [];
  for (const page of pages) {
    const run = on(page);
    await run("begin", "other", { relays });
    const invite = await source("invite", "source", await run("device", "other"));
    raw.push(EVENTS / (await run("accept", "other", invite)) * 1e3);
    await equal(source("digests", "source"), run("digests", "other"));
    if (page !== pages.at(-1)) await run("close", "other");
  }
  report.add({
    ...row, row: `first sync, ${W2}, IndexedDB to IndexedDB, two contexts through the relay`, unit: "events/s", raw, aim: "100,000",
    note: "wall time from join() until settled(), with dialling",
  });
  const other = on(pages.at(-1));
  report.add({ ...row, row: "nothing changed, asked by the new device, through the relay", unit: "ms", raw: await other("nothing", "other", 20) });
  report.add({ ...row, row: "nothing changed, asked by the other, through the relay", unit: "ms", raw: await source("nothing", "source", 20) });
  await live(bench, report, `beside ${ENTITIES.toLocaleString("en-US")} entities`, sourcePage, pages.at(-1));
  await memory(bench, report, pages.at(-1));
  await opening(bench, report, pages.at(-1).context(), `W2, ${ENTITIES.toLocaleString("en-US")} entities`, "300", await source("digests", "source"));
  await sourcePage.context().close();

  const two = await times(2, () => bench.page());
  const [one, second] = two.map(on);
  await one("begin", "source", { relays });
  await second("begin", "other", { relays });
  await one("make", "source");
  await second("accept", "other", await one("invite", "source", await second("device", "other")));
  await live(bench, report, "in an empty vault", ...two);
  await Promise.all(two.map(page => page.context().close()));
}

async function live(bench, report, where, sourcePage, otherPage) {
  const [source, other] = [on(sourcePage), on(otherPage)];
  const id = await source("make", "source");
  await other("answer", "other", id);
  await source("echoes", "source", id, 3);
  const trips = await source("echoes", "source", id, 50);
  await source("settled", "source", "peer");
  await equal(source("digests", "source"), other("digests", "other"));
  report.add({
    browser: bench.name, workload: of, row: `live edit, browser to browser through the relay, ${where}`, unit: "ms",
    raw: trips.map(trip => trip / 2), aim: "under 30", note: "half of the round trip of an edit and its answer",
  });
}

async function memory(bench, report, page) {
  const row = { browser: bench.name, workload: of };
  report.add({ ...row, row: `wasm memory after receiving ${W2} and a live query`, unit: "MB", raw: [(await on(page)("memory")) / 1e6] });
  const name = `JS heap with a live query, ${W2}`;
  if (bench.name !== "chromium") return report.omit({ ...row, row: name, why: "Firefox tells pages nothing of their memory" });
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("HeapProfiler.collectGarbage");
  await devtools.send("Performance.enable");
  const { metrics } = await devtools.send("Performance.getMetrics");
  report.add({ ...row, row: name, unit: "MB", raw: [metrics.find(({ name }) => name === "JSHeapUsedSize").value / 1e6] });
}

/** Reloads of a page with a store `other` in the context's IndexedDB, which has to show these digests then. */
async function opening(bench, report, context, what, aim, digests) {
  // The store has been quiet long enough for its checkpoint, as the README says beside the figures.
  await new Promise(resolve => setTimeout(resolve, QUIET));
  for (const page of context.pages()) {
    await on(page)("close", "other").catch(() => {});
    await page.close();
  }
  const page = await bench.page(context);
  const [opened, shown] = [[], []];
  let rows;
  for (let at = 0; at < (quick ? 2 : 5); at += 1) {
    await page.reload();
    const timed = await page.evaluate(async () => {
      const start = performance.now();
      const { begin, query } = await import("/built/page.js");
      await begin("other");
      const opened = performance.now() - start;
      const { rows } = await query("other");
      return { opened, shown: performance.now() - start, rows };
    });
    opened.push(timed.opened);
    shown.push(timed.shown);
    rows = timed.rows;
  }
  const row = { browser: bench.name, workload: of };
  report.add({ ...row, row: `${what}: from import to open()`, unit: "ms", raw: opened, aim: `under ${aim}` });
  report.add({ ...row, row: `${what}: from import to all() with ${rows.toLocaleString("en-US")} rows`, unit: "ms", raw: shown, aim: `under ${aim}` });
  await equal(digests, on(page)("digests", "other"));
  await context.close();
}

/** A local write, and a large store. */
export async function alone(bench, report) {
  const row = { browser: bench.name, workload: of };
  const page = await bench.page();
  await on(page)("begin", "small");
  await on(page)("writes", "small", 3);
  report.add({ ...row, row: "local write, create() and settled()", unit: "ms", raw: await on(page)("writes", "small", 50), aim: "5" });
  assert.equal((await on(page)("query", "small")).rows, 53, "all that was written is there");
  await page.context().close();

  const large = ENTITIES * 10;
  const big = await bench.page();
  await on(big)("begin", "other");
  const start = performance.now();
  await on(big)("fillAtOnce", "other", large);
  report.add({ ...row, row: `written locally, ${(large * 10).toLocaleString("en-US")} events, entity by entity`, unit: "events/s", raw: [large * 10 / (performance.now() - start) * 1e3] });
  await opening(bench, report, big.context(), `${(large * 10).toLocaleString("en-US")} events, ${large.toLocaleString("en-US")} entities`, "300", await on(big)("digests", "other"));
}
