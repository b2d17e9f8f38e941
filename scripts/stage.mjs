// What runs around a page in the demos and in the browser tests: a relay, a native device in a vault of its own, and
// the server of the page. Each is a process of its own that ends by `end()`.

import { execFile, spawn } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";

const root = join(import.meta.dirname, "..");
const binaries = resolve(root, process.env.CARGO_TARGET_DIR ?? "target", "debug");
/** What has not happened within this time does not happen any more. */
const LIMIT_MS = 60_000;

export const PRIVSTACK = process.env.PRIVSTACK ?? join(binaries, "privstack");
const RELAY = process.env.PRIVSTACK_RELAY ?? join(binaries, "privstack-relay");

/** A program that prints JSON lines. `first` is the first of them; each is told as "answer" or as "event". */
class Program extends EventEmitter {
  static async start(program, args) {
    const running = new Program(program, args);
    await running.#begun;
    return running;
  }

  #begun;

  constructor(program, args) {
    super();
    this.setMaxListeners(0);
    this.child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });
    this.ended = new Promise(resolve => this.child.on("close", resolve));
    this.#begun = new Promise((resolve, reject) => {
      this.once("event", resolve);
      this.child.on("error", error => reject(new Error(`${program} does not start; build it first: ${error.message}`)));
      this.ended.then(() => reject(new Error(`${program} ended without a word`)));
    });
    this.#begun.catch(() => {});
    createInterface({ input: this.child.stdout }).on("line", text => {
      const line = JSON.parse(text);
      this.first ??= line;
      this.emit("id" in line ? "answer" : "event", line);
    });
  }

  async end(signal = "SIGTERM") {
    this.child.kill(signal);
    await this.ended;
  }
}

/** A relay with its key in `data`. `again` takes the first line of an earlier run and listens where that did. */
export async function startRelay(data, again) {
  const port = again?.addresses[0].match(/\/tcp\/(\d+)/)[1] ?? 0;
  const relay = await Program.start(RELAY, ["--data", data, "--listen", `/ip4/127.0.0.1/tcp/${port}/ws`, "--http", again?.http ?? "127.0.0.1:0", "--json"]);
  relay.address = relay.first.addresses[0];
  relay.identity = `http://${relay.first.http}/`;
  return relay;
}

/** The server of the page in www/. With a native device's data folder, every page gets an invite from that device. */
export function startServer({ port = 0, relay, device } = {}) {
  const invites = device ? [PRIVSTACK, "--data", device, "invite"].map(word => `--invites=${word}`) : [];
  return Program.start(process.execPath, [
    join(root, "scripts/serve.mjs"), "--port", String(port), ...(relay ? ["--relay", relay] : []), ...invites,
  ]);
}

/** Makes a device with a vault of its own in `data`. */
export async function makeVault(data, name = "Native device") {
  await command(data, "init", "--name", name, "--recovery-file", `${data}.words`);
}

/** One command of `privstack` on that folder; gives what it printed. */
export async function command(data, ...args) {
  const { stdout } = await promisify(execFile)(PRIVSTACK, ["--data", data, ...args]);
  return stdout.trim();
}

/** Runs the device in `data`; requests go to its standard input. It talks through that relay, or else listens there. */
export async function startDevice(data, relay, listen = "") {
  const device = await Program.start(PRIVSTACK, [
    "--data", data, "run", "--listen", listen, "--no-mdns", ...(relay ? ["--relay", relay] : []), "--json",
  ]);
  let asked = 0;

  /** Sends a request; gives what is in `ok` of the answer. */
  device.ask = (cmd, more = {}) => new Promise((resolve, reject) => {
    const id = (asked += 1);
    const hear = line => {
      if (line.id !== id) return;
      device.off("answer", hear);
      if (line.error) reject(new Error(`${cmd}: ${line.error.message}`));
      else resolve(line.ok);
    };
    device.on("answer", hear);
    device.ended.then(() => reject(new Error(`${cmd}: the device has ended`)));
    device.child.stdin.write(`${JSON.stringify({ id, cmd, ...more })}\n`);
  });
  device.digest = async () => (await device.ask("digest")).digest;
  device.entities = async type => (await device.ask("ls", { type, limit: 10_000 })).entities;
  /** Waits until `passes` gives something true; it is tried again whenever the device tells of something. */
  device.until = async (passes, what = String(passes)) => {
    const signal = AbortSignal.timeout(LIMIT_MS);
    for (;;) {
      const told = new Promise((resolve, reject) => {
        device.once("event", resolve);
        signal.addEventListener("abort", () => reject(new Error(`not within ${LIMIT_MS} ms: ${what}`)), { once: true });
      });
      told.catch(() => {});
      const passed = await passes();
      if (passed) return passed;
      await told;
    }
  };
  return device;
}

/** `privstack pair` on that folder, which says yes to the words: shows a code, or joins by one. Where no device runs on the
 *  folder it needs a relay. `says(event, is)` gives what it tells so: `code` (with a relay's number), `found`, `paired`. */
export function pairCommand(data, relay, ...args) {
  const way = relay ? ["--no-mdns", "--listen", "", "--relay", relay] : [];
  const pairing = new Program(PRIVSTACK, ["--data", data, "--json", "pair", ...args, "--yes", ...way]);
  const lines = [];
  pairing.on("event", line => lines.push(line));
  pairing.says = async (event, is = () => true) => {
    for (;;) {
      const line = lines.find(one => one.event === event && is(one));
      if (line) return line;
      const ended = pairing.child.exitCode;
      if (ended !== null) throw new Error(`privstack pair ended with ${ended}: ${JSON.stringify(lines)}`);
      await Promise.race([once(pairing, "event"), pairing.ended]);
    }
  };
  return pairing;
}

/** A new folder, and what removes it. */
export async function scratch(name) {
  const folder = await mkdtemp(join(tmpdir(), `privstack-${name}.`));
  return { folder, remove: () => rm(folder, { recursive: true, force: true }) };
}
