// The notes board with a relay and a native device whose vault every page joins, until Ctrl-C:
//
//   scripts/page [PORT]      (8080 if none is given; another one if that is taken)

import { spawn } from "node:child_process";
import { command, makeVault, PRIVSTACK, scratch, startDevice, startRelay, startServer } from "./stage.mjs";

const { folder, remove } = await scratch("demo");
const ends = [remove];
let ending;

function end(code) {
  ending ??= (async () => {
    for (const one of ends.splice(0).reverse()) await one().catch(() => {});
    process.exit(code);
  })();
  return ending;
}
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => void end(0));

/** Opens the page where there is somebody to look at it; gives what opens it, if anything does. */
function show(address) {
  const opener = process.platform === "darwin" ? "open" : process.env.DISPLAY || process.env.WAYLAND_DISPLAY ? "xdg-open" : undefined;
  if (opener) spawn(opener, [address], { stdio: "ignore", detached: true }).on("error", () => {}).unref();
}

async function demo(port) {
  const relay = await startRelay(`${folder}/relay`);
  ends.push(() => relay.end());
  const data = `${folder}/device`;
  await makeVault(data);
  await command(data, "put", "note", "title=Welcome", "colour=yellow", "tags+:demo", "place=1024",
    "text@0+This note was made on a native device. Open this page in a second browser: both show the same.");
  const native = await startDevice(data, relay.address);
  ends.push(() => native.end());
  const server = await startServer({ port, relay: relay.address, device: data })
    .catch(() => startServer({ relay: relay.address, device: data }));
  ends.push(() => server.end());

  const { address } = server.first;
  console.log(`The notes board is on ${address}
Open it in two browsers: each is a device of one vault, together with a native device, all through a relay on this
machine. Switch "Work offline" on, edit the same note on both sides, and switch it off again.
To connect a browser by a code instead, open ${address}?alone in a private window or a second
browser: that page starts without a vault. "Show a code" here, "Connect to my other device" there.
The native device is driven from another terminal, such as by
    ${PRIVSTACK} --data ${data} ls
Ctrl-C ends it; the vault goes with it.`);
  show(address);
  for (const one of [relay, native, server]) {
    one.ended.then(() => {
      if (ending) return;
      console.error("demo: a part of it has ended by itself");
      void end(1);
    });
  }
}

await demo(process.argv[2] ?? 8080).catch(error => {
  if (ending) return;
  console.error(`demo: ${error.message}`);
  return end(1);
});
