// The timeline: one lane a device, a dot for each commit, an arrow for each batch that came in.

import { FIELDS } from "./model.js";
import { $, el, svg, attempt } from "./dom.js";
import { contests, readChanges } from "./history.js";
import { shortId } from "./words.js";

/** As high as a name in style.css. */
const LANE = 44;
const STEP = 34;
const MOST = 60;
/** Fields whose sides both stay: sets, texts and counters merge, nobody wins. */
const MERGED = new Set(["text", "tags"]);

export function showTimeline(store) {
  const notes = store.collection("note");
  const all = notes.all({ orderBy: "place" });
  /** Batches that came in while the page was open: { at, from }. */
  const batches = [];
  let changes = [];
  let timer;
  let chosen = null;

  const nameOf = (id) => {
    if (id === store.device.id) return "This device";
    const name = store.peers.current.find((peer) => peer.id === id)?.name;
    return name || shortId(id);
  };

  const draw = () => {
    const devices = [store.device.id, ...new Set([...store.peers.current.map((peer) => peer.id), ...changes.map((change) => change.by)])];
    const lanes = [...new Set(devices)];
    const points = [
      ...changes.map((change) => ({ at: +change.at, change })),
      ...batches.map((batch) => ({ at: batch.at, batch })),
    ].sort((a, b) => a.at - b.at).slice(-MOST);
    const width = (points.length + 1) * STEP;
    const y = (id) => LANE / 2 + lanes.indexOf(id) * LANE;
    const root = svg("svg", { class: "lanes", width, height: lanes.length * LANE, role: "group", "aria-label": "Edits of all devices, oldest first" });
    root.append(svg("defs", {}, svg("marker", { id: "head", markerWidth: 8, markerHeight: 8, refX: 7, refY: 4, orient: "auto" }, svg("path", { d: "M0 0 L8 4 L0 8 z" }))));
    for (const id of lanes) root.append(svg("line", { class: "lane", x1: 0, x2: width, y1: y(id), y2: y(id) }));
    // Beside what scrolls, so that they stay in sight.
    $("lane-names").replaceChildren(...lanes.map((id) => el("li", { title: nameOf(id) }, nameOf(id))));
    const dots = [];
    points.forEach(({ change, batch }, index) => {
      const x = index * STEP + STEP / 2;
      if (batch) {
        root.append(svg("path", { class: "arrow", d: `M${x - STEP / 2} ${y(batch.from)} L${x} ${y(store.device.id) + (lanes.indexOf(batch.from) > 0 ? 7 : 0)}`, "marker-end": "url(#head)" }));
        return;
      }
      const fought = contests(change, changes);
      const words = describe(change, fought, nameOf);
      const kind = fought.length > 0 ? "conflict" : change.by === store.device.id ? "own" : "other";
      const dot = svg("circle", { class: `commit ${kind}`, cx: x, cy: y(change.by), r: 8, tabindex: -1, role: "img", "aria-label": words }, svg("title", {}, words));
      dot.dataset.key = keyOf(change);
      const tell = () => { chosen = dot.dataset.key; $("detail").textContent = words; };
      dot.addEventListener("pointerenter", tell);
      dot.addEventListener("focus", tell);
      dot.addEventListener("click", tell);
      dots.push(dot);
      root.append(dot);
    });
    walkable(root, dots, chosen);
    const scroll = $("lanes");
    const atEnd = scroll.scrollLeft + scroll.clientWidth >= scroll.scrollWidth - 8;
    const focused = scroll.contains(document.activeElement);
    scroll.replaceChildren(root);
    if (focused) root.querySelector("[tabindex='0']")?.focus();
    if (atEnd) scroll.scrollLeft = scroll.scrollWidth;
    if (!chosen) $("detail").textContent = dots.length ? "" : "Nothing has been edited yet.";
  };

  const read = () => {
    clearTimeout(timer);
    timer = setTimeout(() => attempt(async () => {
      changes = await readChanges(notes, all.current, MOST);
      draw();
    }), 150);
  };

  (async () => {
    for await (const event of store.events()) {
      if (event.type === "entitiesUpdated" && event.origin !== "local") {
        batches.push({ at: Date.now(), from: event.origin });
        batches.splice(0, batches.length - MOST);
      }
      if (event.type === "entitiesUpdated") read();
    }
  })();
  all.subscribe(read);
  store.peers.subscribe(draw);
}

const keyOf = (change) => `${change.note} ${change.by} ${JSON.stringify(change.clock)}`;

/** One dot is reached by Tab, the others from it by the arrow keys. */
function walkable(root, dots, chosen) {
  const start = dots.find((dot) => dot.dataset.key === chosen) ?? dots.at(-1);
  start?.setAttribute("tabindex", "0");
  root.addEventListener("keydown", (event) => {
    const at = dots.indexOf(document.activeElement);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: dots.length - 1 }[event.key];
    if (at < 0 || to === undefined || !dots[to]) return;
    event.preventDefault();
    dots[at].setAttribute("tabindex", "-1");
    dots[to].setAttribute("tabindex", "0");
    dots[to].focus();
  });
}

function describe(change, fought, nameOf) {
  const fields = change.fields.map((field) => FIELDS[field] ?? field).join(", ") || "the note itself";
  const lines = [`${nameOf(change.by)} changed ${fields} of “${change.title}” at ${change.at.toLocaleTimeString()}.`];
  for (const { field, rivals, winner } of fought) {
    const others = [...new Set(rivals.map((rival) => nameOf(rival.by)))].join(", ");
    const name = FIELDS[field] ?? field;
    if (MERGED.has(field)) lines.push(`${others} changed the ${name} too, without having seen this: both sides stay.`);
    else if (winner === change) lines.push(`${others} changed the ${name} too, without having seen this; this one is later and won.`);
    else lines.push(`${nameOf(winner.by)} changed the ${name} too, without having seen this; that one is later and won.`);
  }
  const clock = Object.entries(change.clock).map(([log, seq]) => `${nameOf(log.split("/")[0])} ${seq}`).join(", ");
  lines.push(`Vector clock: ${clock || "empty"}.`);
  return lines.join("\n");
}
