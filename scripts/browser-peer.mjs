// Runs a command beside a native device that listens on WebSocket, for the tests in tests/browser.
//
//   node scripts/browser-peer.mjs COMMAND...
//
// The command finds in PRIVSTACK_TEST_PEER the address of a small server: POST /invite takes a PeerId and answers an
// invite; POST /title takes a title and answers the id of the new note; POST /digest takes a digest and answers once the
// device has it; GET /digest tells which it has.

import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { command, makeVault, scratch, startDevice } from "./stage.mjs";

/** No request says more. */
const MAX_BODY = 1024;

const { folder, remove } = await scratch("browser-peer");
const data = `${folder}/device`;
await makeVault(data);
const device = await startDevice(data, undefined, "/ip4/127.0.0.1/tcp/0/ws");

const answers = {
  "POST /invite": peer => command(data, "invite", peer),
  "POST /title": async title => (await device.ask("put", { type: "note", entity: null, ops: [{ set: ["title", title] }] })).entities[0],
  "POST /digest": async wanted => {
    await device.until(async () => (await device.digest()) === wanted, `the digest ${wanted}`);
    return wanted;
  },
  "GET /digest": () => device.digest(),
};

async function body(request) {
  let text = "";
  for await (const part of request) {
    text += part;
    if (text.length > MAX_BODY) throw new Error("too long");
  }
  return text;
}

const server = createServer(async (request, response) => {
  const answer = (status, text) => {
    // The tests' page comes from another port.
    response.writeHead(status, { "content-type": "text/plain", "access-control-allow-origin": "*" });
    response.end(text);
  };
  try {
    const does = answers[`${request.method} ${request.url}`];
    if (!does) return answer(404, "not found");
    answer(200, await does(await body(request)));
  } catch (error) {
    answer(500, String(error.message));
  }
});
await new Promise(done => server.listen(0, "127.0.0.1", done));

const [program, ...args] = process.argv.slice(2);
const env = { ...process.env, PRIVSTACK_TEST_PEER: `http://127.0.0.1:${server.address().port}` };
const child = spawn(program, args, { stdio: "inherit", env });
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
process.exitCode = await new Promise(done => {
  child.on("error", error => { console.error(`browser-peer: ${program} does not start: ${error.message}`); done(1); });
  child.on("close", code => done(code ?? 1));
});
server.close();
server.closeAllConnections();
await device.end();
await remove();
