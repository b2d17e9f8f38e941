// The passphrase of the notes in this browser: asked for before they open; set, changed and removed.

import { changePassphrase, hasPassphrase } from "./sync/dist/index.js";
import { $ } from "./dom.js";
import { flush } from "./typing.js";
import { errorWords } from "./words.js";

/** How often a page looks whether another tab has done what it is at. */
const AGAIN_MS = 500;

let isChanging = false;
/** Whether the notes were closed meanwhile. */
let isLeft = false;

/** Opens the notes of that name by `open`, which takes `{ passphrase }` where they have one: then its user is asked. Gives
 *  the store, and whether it has one. */
export async function openNotes(name, open) {
  if (!(await isSealed(name))) return [await open({}), false];
  $("sync-words").textContent = "Locked";
  const dialog = $("unlocking");
  dialog.oncancel = (event) => event.preventDefault();
  dialog.showModal();
  const store = await new Promise((opened) => {
    $("unlock").onsubmit = async (event) => {
      event.preventDefault();
      const passphrase = $("unlock-passphrase").value;
      if (!passphrase) return;
      say("unlock-says", "Opening …", false);
      $("unlock-now").disabled = true;
      try {
        opened(await open({ passphrase }));
      } catch (error) {
        say("unlock-says", error.code === "locked" ? "That is not the passphrase of the notes in this browser." : errorWords(error));
        $("unlock-passphrase").select();
      } finally {
        $("unlock-now").disabled = false;
      }
    };
  });
  dialog.oncancel = null;
  dialog.close();
  $("unlock-passphrase").value = "";
  return [store, true];
}

async function isSealed(name) {
  for (;;) {
    try {
      return await hasPassphrase({ name });
    } catch (error) {
      if (error.code !== "locked") throw error;
      $("sync-words").textContent = "Another tab is changing the passphrase …";
      await new Promise((resume) => setTimeout(resume, AGAIN_MS));
    }
  }
}

/** The notes were closed as another tab, or this one, wants them for itself. */
export function left() {
  isLeft = true;
  if (!isChanging) location.reload();
}

/** Whether this tab is at it. */
export const isChangingHere = () => isChanging;

export function passphraseDialog(store, name, isSealed) {
  const [dialog, button] = [$("passphrase-dialog"), $("passphrase")];
  button.textContent = isSealed ? "Change the passphrase" : "Set a passphrase";
  button.disabled = false;
  $("passphrase-title").textContent = button.textContent;
  for (const part of dialog.querySelectorAll("[data-sealed]")) part.hidden = (part.dataset.sealed === "yes") !== isSealed;
  $("set-passphrase").textContent = isSealed ? "Change it" : "Set it";
  let given;
  button.onclick = () => {
    for (const field of dialog.querySelectorAll("input")) field.value = "";
    say("passphrase-says", "");
    dialog.showModal();
  };
  $("passphrase-form").onsubmit = (event) => {
    event.preventDefault();
    const [to, again] = [$("passphrase-new").value, $("passphrase-again").value];
    if (!to) return say("passphrase-says", "Type the new passphrase.");
    if (to !== again) return say("passphrase-says", "The two do not match. Type the new passphrase twice.");
    change(to);
  };
  $("remove-passphrase").onclick = () => change(undefined);
  $("no-passphrase").onclick = () => given ? given.abort() : dialog.close();
  dialog.oncancel = (event) => { if (isChanging) event.preventDefault(); };
  dialog.onclose = () => { if (isLeft) location.reload(); };

  async function change(to) {
    const from = isSealed ? $("passphrase-old").value : undefined;
    if (from === "") return say("passphrase-says", "Type the passphrase that the notes have now.");
    const [bar, controls] = [$("passphrase-bar"), $("passphrase-dialog").querySelectorAll("input, #set-passphrase, #remove-passphrase")];
    isChanging = true;
    given = new AbortController();
    for (const control of controls) control.disabled = true;
    bar.hidden = false;
    bar.removeAttribute("value");
    say("passphrase-says", "Working on it. This takes a moment.", false);
    try {
      if (!isLeft) {
        flush();
        await store.settled();
      }
      const onProgress = (done, total) => {
        [bar.max, bar.value] = [total, done];
        say("passphrase-says", "Writing all notes anew …", false);
      };
      await changePassphrase({ name, from, to, signal: given.signal, onProgress });
      location.reload();
    } catch (error) {
      say("passphrase-says", changeWords(error));
      bar.hidden = true;
      for (const control of controls) control.disabled = false;
      if (from !== undefined) $("passphrase-old").select();
    } finally {
      isChanging = false;
      given = undefined;
    }
  }
}

function changeWords(error) {
  switch (error.code) {
    case "aborted": return "Nothing was changed.";
    case "locked": return "That is not the passphrase of the notes in this browser.";
    case "tab_conflict": return "Another tab has the notes open and does not close them. Close it, then try again.";
    case "quota": return "There is no room for a second copy of the notes, which this needs for a moment. Nothing was changed.";
    default: return errorWords(error);
  }
}

function say(where, words, isWrong = true) {
  $(where).textContent = words;
  $(where).className = isWrong ? "wrong" : "quiet";
}
