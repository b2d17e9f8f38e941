// The dialog in which a note is edited. What is typed is written in small groups, whatever else at once; others' changes
// show while one types.

import { COLOURS } from "./model.js";
import { $, el, attempt } from "./dom.js";
import { onRights } from "./rights.js";
import { bindText, change, drop, flush, grouped } from "./typing.js";
import { editing, handedOver, keepRefused, typed } from "./unsaved.js";
import { lockedWords } from "./words.js";

/** How long something may be unsaved before that is worth a word. */
const UNSAVED_MS = 500;

export async function edit(store, id, { fresh = false } = {}) {
  const notes = store.collection("note");
  const first = await attempt(() => notes.get(id));
  if (!first) return;
  const dialog = $("editor");
  const stops = [];
  const update = (patch) => change(() => notes.update(id, patch));

  const titles = [first.title];

  $("note-title").value = first.title;
  const titleLater = grouped(() => {
    titles.push($("note-title").value);
    notes.update(id, { title: $("note-title").value });
    handedOver(store, sides()[0]);
  });
  $("note-title").oninput = () => {
    typed();
    titleLater();
  };
  $("note-text").readOnly = false; // whether it is, is said below
  const [unbind, sides] = bindText(store, $("note-text"), first.text, (now) => handedOver(store, now));
  stops.push(unbind);
  $("note-text").oninput = typed;
  editing({ id, text: first.text, sides, title: () => $("note-title").value, titles });
  $("note-done").onchange = () => update({ done: $("note-done").checked });
  $("note-colours").replaceChildren(
    ...COLOURS.map((colour) =>
      el("label", { dataset: { colour } }, el("input", { type: "radio", name: "colour", value: colour, onchange: () => update({ colour }) }), colour)));
  const addTag = () => {
    const tag = $("note-tag").value.trim();
    if (tag) change(() => notes.insert(id, "tags", tag));
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
    change(() => notes.delete(id));
    dialog.close();
    $("board").dispatchEvent(new CustomEvent("note-deleted", { detail: { id, title } }));
  };

  stops.push(notes.one(id).subscribe((note) => {
    if (!note) {
      if (dialog.open) dialog.close();
      return;
    }
    title = note.title;
    if ((document.activeElement !== $("note-title") || $("note-title").readOnly) && $("note-title").value !== note.title) $("note-title").value = note.title;
    $("note-done").checked = note.done;
    for (const input of $("note-colours").querySelectorAll("input")) input.checked = input.value === note.colour;
    showTags([...note.tags].sort(), (tag) => change(() => notes.remove(id, "tags", tag)));
  }));
  stops.push(watchSaved(store));
  stops.push(onRights((right) => {
    if (right !== "write") {
      keepRefused(store);
      drop();
      $("note-title").value = title;
      $("note-text").value = first.text.current;
    }
    lock(right);
  }));
  dialog.onfocusout = flush;
  dialog.onclose = () => {
    flush();
    stops.splice(0).forEach((stop) => stop());
  };
  dialog.showModal();
  (fresh ? $("note-title") : $("note-text")).focus();
}

/** Makes all of the dialog readable only, or writable again; text can be selected either way. */
function lock(right) {
  const isLocked = right !== "write";
  for (const id of ["note-title", "note-text", "note-tag"]) $(id).readOnly = isLocked;
  const isFocused = document.activeElement;
  for (const id of ["note-colour-set", "note-done", "add-tag", "note-delete"]) $(id).disabled = isLocked;
  $("editor").classList.toggle("locked", isLocked);
  $("note-locked").textContent = lockedWords(right);
  $("note-locked").hidden = !isLocked;
  // What is switched off has no focus any more: a reader of the screen goes on at the reason.
  if (isLocked && $("editor").open && isFocused?.matches(":disabled, #note-tags button")) $("note-locked").focus();
}

/** Brings the tags into the list; when the one in focus goes, the next one or the field for a new one takes the focus. */
function showTags(tags, remove) {
  const list = $("note-tags");
  if (tags.join("\n") === [...list.children].map((item) => item.dataset.tag).join("\n")) return;
  const at = [...list.children].findIndex((item) => item.contains(document.activeElement));
  list.replaceChildren(...tags.map((tag) =>
    el("li", { dataset: { tag } }, tag, el("button", { type: "button", ariaLabel: `Remove the tag ${tag}`, onclick: () => remove(tag) }, "×"))));
  if (at >= 0) (list.children[Math.min(at, tags.length - 1)]?.querySelector("button") ?? $("note-tag")).focus();
}

/** Says whether all is saved; what is saved in a moment needs no word. */
function watchSaved(store) {
  let timer;
  const say = (words) => {
    clearTimeout(timer);
    timer = undefined;
    if ($("note-saved").textContent !== words) $("note-saved").textContent = words;
  };
  const stop = store.status.subscribe(({ unsaved }) => {
    if ($("editor").classList.contains("locked")) say("");
    else if (unsaved === 0) say("Saved on this device.");
    else timer ??= setTimeout(say, UNSAVED_MS, "Saving …");
  });
  return () => {
    clearTimeout(timer);
    stop();
  };
}
