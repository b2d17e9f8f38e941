// The dialog in which a note is edited. Every change is written at once; others' changes show while one types.

import { COLOURS } from "./model.js";
import { $, el, attempt } from "./dom.js";

export async function edit(store, id, { fresh = false } = {}) {
  const notes = store.collection("note");
  const first = await attempt(() => notes.get(id));
  if (!first) return;
  const dialog = $("editor");
  const stops = [];
  const update = (patch) => attempt(() => notes.update(id, patch));

  $("note-title").value = first.title;
  $("note-title").oninput = () => update({ title: $("note-title").value });
  stops.push(bindText($("note-text"), first.text));
  $("note-done").onchange = () => update({ done: $("note-done").checked });
  $("note-colours").replaceChildren(
    ...COLOURS.map((colour) =>
      el("label", {}, el("input", { type: "radio", name: "colour", value: colour, onchange: () => update({ colour }) }), colour)));
  const addTag = () => {
    const tag = $("note-tag").value.trim();
    if (tag) attempt(() => notes.insert(id, "tags", tag));
    $("note-tag").value = "";
    $("note-tag").focus();
  };
  $("add-tag").onclick = addTag;
  $("note-tag").onkeydown = (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    addTag();
  };
  let title = first.title;
  $("note-delete").onclick = () => {
    attempt(() => notes.delete(id));
    dialog.close();
    $("board").dispatchEvent(new CustomEvent("note-deleted", { detail: { id, title } }));
  };

  stops.push(notes.one(id).subscribe((note) => {
    if (!note) {
      if (dialog.open) dialog.close();
      return;
    }
    title = note.title;
    if (document.activeElement !== $("note-title") && $("note-title").value !== note.title) $("note-title").value = note.title;
    $("note-done").checked = note.done;
    for (const input of $("note-colours").querySelectorAll("input")) input.checked = input.value === note.colour;
    $("note-tags").replaceChildren(...[...note.tags].sort().map((tag) =>
      el("li", {}, tag, el("button", { type: "button", ariaLabel: `Remove the tag ${tag}`, onclick: () => attempt(() => notes.remove(id, "tags", tag)) }, "×"))));
  }));
  stops.push(store.status.subscribe(({ unsaved }) => {
    $("note-saved").textContent = unsaved > 0 ? "Saving …" : "Saved on this device.";
  }));
  dialog.onclose = () => stops.splice(0).forEach((stop) => stop());
  dialog.showModal();
  (fresh ? $("note-title") : $("note-text")).focus();
}

/** Keeps a text area and a shared text alike, with the caret where its user put it. Gives a function that ends it. */
function bindText(area, text) {
  area.value = text.current;
  area.oninput = () => {
    const [at, gone, added] = difference(text.current, area.value);
    attempt(() => {
      if (gone > 0) text.delete(at, gone);
      if (added) text.insert(at, added);
    });
  };
  const stop = text.subscribe((now) => {
    if (now === area.value) return;
    const [at, gone, added] = difference(area.value, now);
    const shift = (caret) => (caret <= at ? caret : caret >= at + gone ? caret + added.length - gone : at + added.length);
    const { selectionStart, selectionEnd, selectionDirection, scrollTop } = area;
    area.value = now;
    area.setSelectionRange(shift(selectionStart), shift(selectionEnd), selectionDirection);
    area.scrollTop = scrollTop;
  });
  return () => { stop(); area.oninput = null; };
}

/** The one stretch in which two strings differ: where, how much goes, what comes. Never within a surrogate pair. */
export function difference(before, after) {
  const shorter = Math.min(before.length, after.length);
  let start = 0;
  while (start < shorter && before[start] === after[start]) start += 1;
  if (start > 0 && isHigh(before, start - 1)) start -= 1;
  let end = 0;
  while (end < shorter - start && before.at(-1 - end) === after.at(-1 - end)) end += 1;
  if (end > 0 && isLow(before, before.length - end)) end -= 1;
  return [start, before.length - start - end, after.slice(start, after.length - end)];
}

const isHigh = (text, at) => (text.charCodeAt(at) & 0xfc00) === 0xd800;
const isLow = (text, at) => (text.charCodeAt(at) & 0xfc00) === 0xdc00;
