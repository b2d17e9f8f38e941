// Serves the page in www/ and the package in pkg/ below it, at /sync/.
//
//   node scripts/serve.mjs [--port 8080] [--relay MULTIADDR]... [--invites=WORD]...
//
// --relay goes into the page's settings. --invites gives a program and its arguments, word by word: POST /invite runs it
// with the PeerId that was sent as one more, and answers what it prints. The demo's native device lets every page in that
// way. Only loopback can reach the server.

import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { readFile, readdir } from "node:fs/promises";
import { extname, join, normalize } from "node:path";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    port: { type: "string", default: "8080" },
    relay: { type: "string", multiple: true, default: [] },
    invites: { type: "string", multiple: true, default: [] },
  },
});

const root = join(import.meta.dirname, "..");
const TYPES = {
  ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
  ".json": "application/json", ".svg": "image/svg+xml", ".wasm": "application/wasm", ".webmanifest": "application/manifest+json",
};
/** No PeerId is longer. */
const MAX_BODY = 128;

/** Where a path of the page lies on disk; nothing outside the two folders. */
function file(path) {
  const inside = normalize(path).replace(/^(\.\.(\/|$))+/, "");
  return inside.startsWith("/sync/") ? join(root, "pkg", inside.slice("/sync/".length)) : join(root, "www", inside);
}

/** What the package's entry loads, for the service worker. */
async function packageFiles() {
  const files = await readdir(join(root, "pkg/dist"));
  const code = files.filter((name) => name.endsWith(".js")).map((name) => `dist/${name}`);
  const wasm = (await readdir(join(root, "pkg/wasm"))).filter((name) => /\.(js|wasm)$/.test(name));
  return [...code, ...wasm.map((name) => `wasm/${name}`)];
}

async function body(request) {
  let text = "";
  for await (const part of request) {
    text += part;
    if (text.length > MAX_BODY) throw new Error("too long");
  }
  return text.trim();
}

async function invite(peer) {
  if (!/^[1-9A-HJ-NP-Za-km-z]{40,64}$/.test(peer)) throw new Error("that is no PeerId");
  const [program, ...rest] = values.invites;
  const child = spawn(program, [...rest, peer], { stdio: ["ignore", "pipe", "pipe"] });
  let [out, err] = ["", ""];
  child.stdout.on("data", (data) => { out += data; });
  child.stderr.on("data", (data) => { err += data; });
  const code = await new Promise((done, fail) => { child.on("close", done); child.on("error", fail); });
  if (code !== 0) throw new Error(err.trim());
  return out.trim();
}

const server = createServer(async (request, response) => {
  const answer = (status, type, data) => {
    response.writeHead(status, { "content-type": type, "cache-control": "no-cache", "x-content-type-options": "nosniff" });
    response.end(data);
  };
  try {
    const path = decodeURIComponent(new URL(request.url, "http://localhost").pathname);
    if (path === "/invite" && request.method === "POST" && values.invites.length > 0) {
      return answer(200, "text/plain", await invite(await body(request)));
    }
    if (request.method !== "GET" && request.method !== "HEAD") return answer(405, "text/plain", "only GET");
    if (path === "/settings.json") {
      const settings = { relays: values.relay, ...(values.invites.length > 0 && { invite: "invite" }) };
      return answer(200, TYPES[".json"], JSON.stringify(settings));
    }
    if (path === "/sync/files.json") return answer(200, TYPES[".json"], JSON.stringify(await packageFiles()));
    const found = file(path === "/" ? "/index.html" : path);
    const data = await readFile(found);
    answer(200, TYPES[extname(found)] ?? "application/octet-stream", data);
  } catch (error) {
    if (["ENOENT", "EISDIR", "ENOTDIR"].includes(error.code)) return answer(404, "text/plain", "not found");
    answer(400, "text/plain", String(error.message));
  }
});

server.on("error", (error) => {
  console.error(`serve: ${error.message}`);
  process.exitCode = 1;
});
server.listen(Number(values.port), "127.0.0.1", () => {
  console.log(JSON.stringify({ event: "ready", address: `http://127.0.0.1:${server.address().port}/` }));
});
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, () => { server.close(); server.closeAllConnections(); });
}
