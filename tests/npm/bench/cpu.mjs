import { readdir, readFile } from "node:fs/promises";

/** The nanoseconds that each thread of the browser's processes has run, as Linux counts them. */
async function threads() {
  const parents = new Map();
  const found = new Map();
  for (const name of await readdir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const stat = await readFile(`/proc/${name}/stat`, "utf8").catch(() => "");
    if (stat) parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(")") + 4).split(" ")[0]));
  }
  const ours = pid => pid !== undefined && pid > 1 && (parents.get(pid) === process.pid || ours(parents.get(pid)));
  for (const pid of parents.keys()) {
    if (!ours(pid)) continue;
    for (const task of await readdir(`/proc/${pid}/task`).catch(() => [])) {
      const spent = await readFile(`/proc/${pid}/task/${task}/schedstat`, "utf8").catch(() => "0");
      found.set(`${pid}/${task}`, Number(spent.split(" ")[0]));
    }
  }
  return found;
}

/**
 * CPU seconds that `run` takes: of the page's thread, which is the main thread that works the most, and of all threads of
 * the browser and the relay. Both browsers are measured alike so; DevTools' metrics are Chromium's only.
 */
export async function cpu(run) {
  if (process.platform !== "linux") return { result: await run(), page: undefined, all: undefined };
  const before = await threads();
  const result = await run();
  let [page, all] = [0, 0];
  for (const [key, spent] of await threads()) {
    const took = (spent - (before.get(key) ?? 0)) / 1e9;
    const [pid, task] = key.split("/");
    all += took;
    if (pid === task) page = Math.max(page, took);
  }
  return { result, page, all };
}
