// Keeps the page for use without a network: newest from the network, else what was kept.

const KEPT = "notes-board-5";
const FILES = [
  "./", "index.html", "style.css", "app.js", "model.js", "dom.js", "words.js", "board.js", "editor.js", "typing.js", "rights.js", "quarantine.js", "merge.js", "unsaved.js",
  "devices.js", "pairing.js", "invite.js", "welcome.js", "passphrase.js", "timeline.js", "history.js", "icon.svg", "manifest.webmanifest", "settings.json",
];

self.addEventListener("install", (event) => {
  event.waitUntil((async () => {
    const cache = await caches.open(KEPT);
    // The package's files say themselves what they need: their list stands beside them.
    const sync = await (await fetch("sync/files.json")).json();
    await cache.addAll([...FILES, ...sync.map((name) => `sync/${name}`)]);
    await self.skipWaiting();
  })());
});

self.addEventListener("activate", (event) => {
  event.waitUntil((async () => {
    for (const name of await caches.keys()) if (name.startsWith("notes-board-") && name !== KEPT) await caches.delete(name);
    await self.clients.claim();
  })());
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || new URL(request.url).origin !== self.location.origin) return;
  event.respondWith((async () => {
    const cache = await caches.open(KEPT);
    try {
      const answer = await fetch(request);
      if (answer.ok) event.waitUntil(cache.put(request, answer.clone()));
      return answer;
    } catch (error) {
      const kept = await cache.match(request, { ignoreSearch: true });
      if (!kept) throw error;
      const headers = new Headers(kept.headers);
      headers.set("x-kept", "yes"); // the page can tell that nobody answered
      return new Response(kept.body, { status: kept.status, headers });
    }
  })());
});
