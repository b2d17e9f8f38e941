// What a page says whose user has nothing yet, neither notes nor other devices.

import { $ } from "./dom.js";

export function showWelcome(store, pairing) {
  const look = () => { $("welcome").hidden = store.peers.current.length > 0 || store.status.current.role === "removed"; };
  $("start-here").onclick = () => $("add").click();
  $("start-connect").onclick = () => pairing.type();
  store.peers.subscribe(look);
  store.status.subscribe(look);
}
