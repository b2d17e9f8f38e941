// The board: a card for each note, in an order that people choose.

import { $, el, toast } from "./dom.js";
import { edit } from "./editor.js";
import { mayWrite, onRights } from "./rights.js";
import { change } from "./typing.js";

/** How far apart the places of new notes are. */
const GAP = 1024;

export function showBoard(store) {
  const notes = store.collection("note");
  const cards = new Map(); // id -> { node, note, stop }
  const all = notes.all({ orderBy: "place" });
  let rows = [];
  let isHere = false;

  const draw = () => {
    const wanted = $("search").value.trim().toLowerCase();
    const shown = rows.filter((note) => ($("show-done").checked || !note.done) && matches(note, wanted));
    for (const [id, card] of cards) {
      if (rows.some((note) => note.id === id)) continue;
      card.stop();
      cards.delete(id);
    }
    const nodes = shown.map((note) => {
      const card = cards.get(note.id) ?? addCard(note);
      fill(card, note);
      return card.node;
    });
    place($("board"), nodes);
    $("empty").hidden = !isHere || rows.length > 0;
    $("none-found").hidden = rows.length === 0 || nodes.length > 0;
    const found = wanted ? `No note matches “${$("search").value.trim()}”.` : "All notes are done.";
    $("none-found").textContent = $("show-done").checked ? found : `${found} Notes that are done are hidden: “Show done” shows them.`;
  };

  const addCard = (note) => {
    const node = $("card").content.firstElementChild.cloneNode(true);
    const card = { node, note, stop: () => {} };
    node.dataset.id = note.id;
    if (isHere) node.classList.add("fresh");
    node.querySelector(".open").onclick = () => edit(store, note.id);
    node.querySelector(".done").onchange = (event) => change(() => notes.update(note.id, { done: event.target.checked }));
    node.querySelector(".earlier").onclick = () => step(note.id, -1);
    node.querySelector(".later").onclick = () => step(note.id, 1);
    node.addEventListener("dragstart", (event) => {
      event.dataTransfer.setData("text/plain", note.id);
      event.dataTransfer.effectAllowed = "move";
      node.classList.add("dragging");
    });
    node.addEventListener("dragend", () => node.classList.remove("dragging"));
    node.addEventListener("dragover", (event) => { if (!mayWrite()) return; event.preventDefault(); node.classList.add("over"); });
    node.addEventListener("dragleave", () => node.classList.remove("over"));
    node.addEventListener("drop", (event) => {
      event.preventDefault();
      node.classList.remove("over");
      const dragged = event.dataTransfer.getData("text/plain");
      if (mayWrite() && dragged !== note.id && cards.has(dragged)) putBefore(dragged, note.id);
    });
    card.stop = note.text.subscribe((text) => { node.querySelector(".text").textContent = text.slice(0, 400); });
    cards.set(note.id, card);
    lock(card);
    return card;
  };

  /** Gives a note a place just before another (after all, without one). */
  const putBefore = (id, before) => {
    const others = rows.filter((note) => note.id !== id);
    const at = before ? others.findIndex((note) => note.id === before) : others.length;
    const low = others[at - 1]?.place ?? (others[at]?.place ?? 0) - 2 * GAP;
    const high = others[at]?.place ?? low + 2 * GAP;
    if (high - low > 1e-6) return change(() => notes.update(id, { place: (low + high) / 2 }));
    // No room between two numbers any more: all get new ones.
    const order = [...others.slice(0, at).map((note) => note.id), id, ...others.slice(at).map((note) => note.id)];
    return change(() => store.batch((tx) => order.forEach((one, index) => tx.collection("note").update(one, { place: index * GAP }))));
  };

  const step = async (id, by) => {
    const ids = [...$("board").children].map((node) => node.dataset.id);
    const at = ids.indexOf(id);
    const to = at + by;
    if (to < 0 || to >= ids.length) return;
    await putBefore(id, by < 0 ? ids[to] : ids[to + 1]);
    cards.get(id)?.node.querySelector(by < 0 ? ".earlier" : ".later").focus();
  };

  onRights(() => {
    $("add").disabled = !mayWrite();
    for (const card of cards.values()) lock(card);
  });
  $("search").addEventListener("input", draw);
  $("show-done").addEventListener("change", draw);
  $("add").onclick = () => change(() => {
    const last = rows.at(-1)?.place ?? 0;
    edit(store, notes.create({ place: last + GAP }).id, { fresh: true });
  });
  $("board").addEventListener("note-deleted", (event) => {
    const { id, title } = event.detail;
    toast(`“${title || "Untitled"}” is deleted.`, "Undo", () => mayWrite() && change(() => notes.restore(id)));
  });
  all.subscribe((now) => { rows = now; draw(); });
  // Before that nobody knows whether there are none.
  (async () => {
    for await (const _ of all) break;
    isHere = true;
    draw();
  })();
}

/** A card that may not be changed can be opened and read. */
function lock({ node }) {
  node.draggable = mayWrite();
  node.querySelector(".done").disabled = !mayWrite();
  node.querySelector(".move").hidden = !mayWrite();
}

function matches(note, wanted) {
  if (!wanted) return true;
  const tags = [...note.tags].join(" ");
  return `${note.title} ${note.text.current} ${tags}`.toLowerCase().includes(wanted);
}

function fill({ node }, note) {
  node.dataset.colour = note.colour;
  node.classList.toggle("is-done", note.done);
  node.querySelector(".title").textContent = note.title || "Untitled";
  node.querySelector(".done").checked = note.done;
  node.querySelector(".earlier").ariaLabel = `Move “${note.title || "Untitled"}” before the previous note`;
  node.querySelector(".later").ariaLabel = `Move “${note.title || "Untitled"}” after the next note`;
  node.querySelector(".tags").replaceChildren(...[...note.tags].sort().map((tag) => el("li", {}, tag)));
}

/** Brings a list's children into this order, touching only those that stand elsewhere: focus stays where it is. */
function place(list, nodes) {
  const keep = new Set(nodes);
  for (const child of [...list.children]) if (!keep.has(child)) child.remove();
  nodes.forEach((node, index) => {
    if (list.children[index] !== node) list.insertBefore(node, list.children[index] ?? null);
  });
}
