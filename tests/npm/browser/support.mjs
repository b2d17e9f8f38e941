import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { execFileSync } from "node:child_process";
import { extname, join, normalize } from "node:path";
import { after } from "node:test";
import { chromium, firefox } from "playwright-core";
import { scratch, startRelay } from "../../../scripts/stage.mjs";

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm" };
/** As strict as a page may be that runs wasm: no inline scripts, no eval, nothing from elsewhere. */
const CSP = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self' ws://127.0.0.1:* http://127.0.0.1:*; img-src data:; base-uri 'none'";

/** Serves a folder on loopback until the test ends. */
export async function serve(test, folder, mounts = {}) {
  const server = createServer(async (request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url, "http://x").pathname));
    const mount = Object.keys(mounts).find(prefix => path.startsWith(prefix));
    let file = mount ? join(mounts[mount], path.slice(mount.length)) : join(folder, path);
    if (file.endsWith("/")) file = join(file, "index.html");
    if (path === "/blank.html") {
      response.writeHead(200, { "content-type": "text/html", "content-security-policy": CSP });
      return response.end('<!doctype html><title>blank</title><link rel="icon" href="data:,">');
    }
    const found = await stat(file).catch(() => undefined);
    if (!found?.isFile()) return response.writeHead(404).end();
    response.writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream", "content-security-policy": CSP });
    createReadStream(file).pipe(response);
  });
  await new Promise(resolve => server.listen(0, "127.0.0.1", resolve));
  test.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${server.address().port}`;
}

function where(...names) {
  for (const name of names) {
    try {
      return execFileSync("which", [name], { encoding: "utf8" }).trim();
    } catch {
      // the next name
    }
  }
  throw new Error(`${names.join(" or ")} is not installed; a test that cannot run is a failed one`);
}

/** How the browsers are started in which every test runs. */
const START = {
  chromium: () => [chromium, { executablePath: where("chromium", "google-chrome"), args: ["--no-sandbox", "--disable-dev-shm-usage"] }],
  firefox: () => [firefox, { executablePath: where("firefox-esr", "firefox"), channel: "moz-firefox" }],
};
const each = start => Object.fromEntries(Object.entries(START).map(([name, made]) => [name, start(made)]));
export const BROWSERS = each(made => options => {
  const [kind, usual] = made();
  return kind.launch({ ...usual, ...options });
});
/** The same, each with one context whose profile lies in a folder. */
export const PROFILES = each(made => folder => {
  const [kind, usual] = made();
  return kind.launchPersistentContext(folder, usual);
});

/** The browsers of this file's tests, each started once for its options. */
const started = new Map();
after(async () => {
  for (const browser of started.values()) await (await browser).close();
});

/** A browser whose contexts end with the test. */
export async function launch(test, name, options = {}) {
  const key = `${name} ${JSON.stringify(options)}`;
  if (!started.has(key)) started.set(key, BROWSERS[name](options));
  const browser = await started.get(key);
  test.after(() => Promise.all(browser.contexts().map(context => context.close())));
  return browser;
}

/** A page's complaints, to be told when its test fails. */
export function complaints(page) {
  const heard = [];
  page.on("console", message => message.type() === "error" && heard.push(message.text()));
  page.on("pageerror", error => heard.push(String(error)));
  return heard;
}

/** A relay until the test ends; gives the URL of its identity. */
export async function relay(test) {
  const { folder, remove } = await scratch("relay");
  const running = await startRelay(folder);
  test.after(async () => {
    await running.end();
    await remove();
  });
  return running.identity;
}
