// The timeline: one lane a device, a dot for each edit, an arrow for each batch that came in. What a device did without
// a pause is one dot, or one arrow.

import { FIELDS } from "./model.js";
import { $, el, svg, attempt, calmly } from "./dom.js";
import { bursts, contests, Histories } from "./history.js";
import { count, deviceWords, list, shortId } from "./words.js";

/** As high as a name in style.css. */
const LANE = 44;
const STEP = 34;
const MOST_SHOWN = 60;
const MOST_READ = 400;
const PAUSE_MS = 1_000;
const RADIUS = 8;
const MOST_RADIUS = 15;
/** How often the histories are read while edits come in. */
const READ_MS = 250;
/** Fields whose sides both stay: sets, texts and counters merge, nobody wins. */
const MERGED = new Set(["text", "tags"]);

export function showTimeline(store) {
  const notes = store.collection("note");
  const all = notes.all();
  const histories = new Histories(notes);
  /** Batches that came in while the page was open: { at, by }. */
  const batches = [];
  let changes = [];
  let isRead = false;
  let chosen = null;

  const nameOf = (id) => {
    if (id === store.device.id) return "This device";
    const peer = store.peers.current.find((one) => one.id === id);
    return peer ? deviceWords(peer) : shortId(id);
  };

  const draw = () => {
    const devices = [store.device.id, ...store.peers.current.map((peer) => peer.id), ...changes.map((change) => change.by)];
    const lanes = [...new Set(devices)];
    const points = [
      ...bursts(changes, PAUSE_MS).map((edits) => ({ at: +edits[0].at, edits })),
      ...bursts(batches, PAUSE_MS).map((came) => ({ at: came.at(-1).at, came })),
    ].sort((a, b) => a.at - b.at).slice(-MOST_SHOWN);
    const width = (points.length + 1) * STEP;
    const y = (id) => LANE / 2 + lanes.indexOf(id) * LANE;
    const root = svg("svg", { class: "lanes", width, height: lanes.length * LANE, role: "group", "aria-label": "Edits of all devices, oldest first" });
    root.append(svg("defs", {}, svg("marker", { id: "head", markerWidth: 8, markerHeight: 8, refX: 7, refY: 4, orient: "auto" }, svg("path", { d: "M0 0 L8 4 L0 8 z" }))));
    for (const id of lanes) root.append(svg("line", { class: "lane", x1: 0, x2: "100%", y1: y(id), y2: y(id) }));
    // Beside what scrolls, so that they stay in sight.
    $("lane-names").replaceChildren(...lanes.map((id) => el("li", { title: nameOf(id) }, nameOf(id))));
    const dots = [];
    points.forEach(({ edits, came }, index) => {
      const x = index * STEP + STEP / 2;
      if (came) {
        const { by } = came[0];
        root.append(svg("path", { class: "arrow", d: `M${x - STEP / 2} ${y(by)} L${x} ${y(store.device.id) + (lanes.indexOf(by) > 0 ? RADIUS : 0)}`, "marker-end": "url(#head)" },
          svg("title", {}, `${count(came.length, "batch", "batches")} came from ${nameOf(by)}.`)));
        return;
      }
      const [{ by }] = edits;
      const fought = edits.flatMap((edit) => contests(edit, changes).map((contest) => ({ ...contest, edit })));
      const words = describe(edits, fought, nameOf);
      const kind = fought.length > 0 ? "conflict" : by === store.device.id ? "own" : "other";
      const radius = Math.min(MOST_RADIUS, RADIUS + (edits.length > 1 ? 2 + Math.log2(edits.length) : 0));
      const dot = svg("circle", { class: `commit ${kind}`, cx: x, cy: y(by), r: radius, tabindex: -1, role: "img", "aria-label": words }, svg("title", {}, words));
      dot.dataset.key = keyOf(edits[0]);
      const tell = () => { chosen = dot.dataset.key; say(words); };
      dot.addEventListener("pointerenter", tell);
      dot.addEventListener("focus", tell);
      dot.addEventListener("click", tell);
      dots.push(dot);
      root.append(dot);
      if (edits.length > 1) root.append(svg("text", { class: "number", x, y: y(by), "aria-hidden": "true" }, edits.length > 99 ? "99+" : String(edits.length)));
      if (dot.dataset.key === chosen) say(words);
    });
    walkable(root, dots, chosen);
    const scroll = $("lanes");
    const atEnd = scroll.scrollLeft + scroll.clientWidth >= scroll.scrollWidth - 8;
    const focused = scroll.contains(document.activeElement);
    scroll.replaceChildren(root);
    if (focused) root.querySelector("[tabindex='0']")?.focus();
    if (atEnd) scroll.scrollLeft = scroll.scrollWidth;
    if (!chosen) say(dots.length > 0 ? "Point at a dot, or go to it with Tab and the arrow keys: here stands what was changed, and what its author had seen." : isRead ? "Nothing has been edited yet." : "");
  };

  let reading = false;
  const read = calmly(() => attempt(async () => {
    if (reading) return read();
    reading = true;
    try {
      changes = await histories.read(MOST_READ);
      isRead = true;
    } finally {
      reading = false;
    }
    draw();
  }, { background: true }), READ_MS);

  (async () => {
    for await (const event of store.events()) {
      if (event.type !== "entitiesUpdated") continue;
      if (event.origin !== "local") {
        batches.push({ at: Date.now(), by: event.origin });
        batches.splice(0, batches.length - MOST_READ);
      }
      histories.changed(event.ids);
      read();
    }
  })();
  all.subscribe((rows) => {
    histories.see(rows);
    read();
  });
  store.peers.subscribe(draw);
}

/** Says it where the reader looks; the same again is not said twice. */
function say(words) {
  if ($("detail").textContent !== words) $("detail").textContent = words;
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

const fieldWords = (field) => FIELDS[field] ?? `field “${field}”`;

function describe(edits, fought, nameOf) {
  const [first, last] = [edits[0], edits.at(-1)];
  const who = nameOf(first.by);
  const titles = (some) => {
    const all = new Map(some.map(({ note, title }) => [note, `“${title}”`]));
    return all.size > 3 ? count(all.size, "note") : list([...all.values()]);
  };
  const deeds = new Map(); // in the order in which they began
  for (const edit of edits) {
    const made = [edit.made, edit.fields.length > 0 && "changed"].filter(Boolean);
    for (const deed of made) deeds.set(deed, [...deeds.get(deed) ?? [], edit]);
  }
  const what = list([...deeds].map(([deed, some]) => {
    const fields = [...new Set(some.flatMap((edit) => edit.fields))].map(fieldWords);
    return deed === "changed" ? `changed the ${list(fields)} of ${titles(some)}` : `${deed} ${titles(some)}`;
  }));
  const times = [...new Set([first, last].map((edit) => edit.at.toLocaleTimeString()))];
  const when = times.length > 1 ? `from ${times[0]} to ${times[1]}` : `at ${times[0]}`;
  const lines = [`${who} ${what} ${when}${edits.length > 1 ? `, in ${count(edits.length, "edit")}` : ""}.`];
  for (const { field, rivals, winner, edit } of fought) {
    const others = list([...new Set(rivals.map((rival) => nameOf(rival.by)))]);
    if (MERGED.has(field)) lines.push(`${others} changed the ${fieldWords(field)} too, without having seen this: both sides stay.`);
    else if (winner === edit) lines.push(`${others} changed the ${fieldWords(field)} too, without having seen this; this one is later and won.`);
    else lines.push(`${others} changed the ${fieldWords(field)} too, without having seen this; that of ${nameOf(winner.by)} is later and won.`);
  }
  const clock = Object.entries(last.clock).map(([log, seq]) => `${nameOf(log.split("/")[0])} ${seq}`);
  lines.push(`Vector clock, the edits that ${who === "This device" ? "it" : who} had seen of each device: ${clock.join(", ") || "none"}.`);
  return [...new Set(lines)].join("\n");
}
