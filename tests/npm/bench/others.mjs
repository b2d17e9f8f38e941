// The rows of others, on the same data.
import { cpu } from "./cpu.mjs";
import { ENTITIES, RUNS, call, quick, times } from "./harness.mjs";

const shown = number => number.toLocaleString("en-US");

async function other(bench, report, { workload, module, entities, note }) {
  const row = { browser: bench.name, workload, note };
  const events = entities * 10;
  const W2 = `W2, ${shown(events)} events`;
  const page = await bench.page();
  const run = (name, ...args) => call(page, module, name, ...args);
  const start = performance.now();
  await run("fill", entities);
  report.add({ ...row, row: `written locally, ${W2}, commits of 1,000`, unit: "events/s", raw: [events / (performance.now() - start) * 1e3], note: `${note}; in memory` });
  let last;
  for (const disk of [false, true]) {
    const figures = await times(RUNS + 1, async at => {
      const database = disk ? `disk ${at}` : undefined;
      await run("prepare", database);
      const measured = await cpu(() => run("first", database));
      last = measured.result;
      await run("check");
      return measured;
    });
    figures.shift();
    const wall = figures.map(({ result }) => events / result.took * 1e3);
    if (disk) {
      report.add({ ...row, row: `first sync, ${W2}, from memory into IndexedDB, one page`, unit: "events/s", raw: wall });
    } else if (figures[0].page !== undefined) {
      report.add({ ...row, row: `first sync, ${W2}, memory`, unit: "events/CPU s", raw: figures.map(({ page }) => events / page), wall });
    }
  }
  if (workload === "Yjs") report.add({ ...row, row: "nothing changed, both ways, one page", unit: "ms", raw: await run("nothing", 20) });
  await run("writes", 3);
  report.add({ ...row, row: "local write, until its transaction ends", unit: "ms", raw: await run("writes", 50) });

  const took = [];
  for (let at = 0; at < (quick ? 2 : 5); at += 1) {
    await page.reload();
    took.push(await page.evaluate(async ({ module, database, url }) => {
      const start = performance.now();
      await (await import(module)).open(database, url);
      return performance.now() - start;
    }, { module, database: `disk ${RUNS}`, url: last.url }));
  }
  await run("checkOpened", entities);
  report.add({ ...row, row: `W2, ${shown(entities)} entities: from import to all rows`, unit: "ms", raw: took });
  await page.context().close();
}

export const yjs = (bench, report) => other(bench, report, {
  workload: "Yjs", module: "/built/yjs.page.js", entities: ENTITIES, note: "one document, no signatures, no encryption",
});

export const automerge = (bench, report) => other(bench, report, {
  workload: "automerge-repo", module: "/built/automerge.page.js", entities: 1_000,
  note: "one document, no signatures, no encryption; 1,000 entities, since 10,000 would take minutes",
});
