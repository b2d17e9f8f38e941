// Connects two devices by a code: one shows it, the other's user types it. Then both show four words, and both users say
// whether these are the same.

import { $, el, copy } from "./dom.js";
import { flush } from "./typing.js";
import { deviceWords, kindWords, pairingWords } from "./words.js";

/** A link to this page ends so, then comes the link that pairs. */
const FRAGMENT = "#pair=";
/** A code that a relay has given a number: without one no other browser finds this one. */
const HAS_NUMBER = /^\d{4}-/;
/** How long a relay may take for the number before the page says what it waits for. */
const RELAY_MS = 5_000;

/** The link that pairs in what was typed, pasted, or handed over in a page's address; or the text as it is. */
function read(text) {
  const at = text.indexOf(FRAGMENT);
  const code = (at < 0 ? text : text.slice(at + FRAGMENT.length)).trim();
  if (!/^privstack%3a/i.test(code)) return code;
  try {
    return decodeURIComponent(code);
  } catch {
    return code;
  }
}

/** Takes the link out of this page's address, also out of the browser's history. */
export function takeLink() {
  if (!location.hash.startsWith(FRAGMENT)) return undefined;
  const link = read(location.hash);
  history.replaceState(history.state, "", location.pathname + location.search);
  return link;
}

/** "4 8 2 1, 4 8 2 9 5 1", as it is read out. */
const spelled = (code) => code.split(/[- ]/).map((part) => [...part].join(" ")).join(", ");

export function pairingDialog(store, { hasRelay }) {
  const dialog = $("pairing");
  /** Which attempt this is: what an earlier one still waits for is of no interest any more. */
  let attempt = 0;
  /** Gives up what is under way. */
  let stop = () => {};
  let timer;

  const say = (text, isWrong = false) => {
    $("pair-says").textContent = text;
    $("pair-says").classList.toggle("wrong", isWrong);
    $("pair-typed").ariaInvalid = "false";
  };

  const show = (stage, title, text, focus, isWrong) => {
    for (const part of dialog.querySelectorAll("[data-stage]")) part.hidden = !part.dataset.stage.split(" ").includes(stage);
    $("pairing-title").textContent = title;
    say(text, isWrong);
    if (!dialog.open) dialog.showModal();
    focus?.focus();
  };
  const wait = (title, text) => show("wait", title, text, dialog.querySelector("[data-stage~=wait].pair-close"));

  const end = () => {
    attempt += 1;
    clearInterval(timer);
    const ends = stop;
    stop = () => {};
    // What has ended already needs no end; the engine tells the other device.
    Promise.resolve(ends()).catch(() => {});
  };
  /** Begins another attempt; gives what tells whether it is still the one. */
  const begin = () => {
    end();
    flush();
    const mine = attempt;
    return () => attempt === mine;
  };

  const fail = (error, shows, more = {}) => {
    clearInterval(timer);
    const locked = shows && error.code === "pairing_locked";
    $("pair-again").textContent = locked ? "Unlock" : shows ? "Show a new code" : "Type a code";
    $("pair-again").onclick = locked ? unlock : shows ? offer : () => type();
    show("failed", locked ? "Connecting is locked" : "Not connected", pairingWords(error, { shows, ...more }), $("pair-again"), true);
  };

  async function offer() {
    const isCurrent = begin();
    wait("Show a code", "Getting a code …");
    try {
      refuseOffline();
      if (!hasRelay) throw { code: "no_relay" };
      const offered = await store.pairing.offer();
      if (!isCurrent()) return void offered.cancel();
      stop = () => offered.cancel();
      const started = performance.now();
      let [shown, isAnother] = [undefined, false];
      const draw = () => {
        const { code, expiresAt } = offered.current.current;
        if (!HAS_NUMBER.test(code)) {
          if (shown) wait("Show a code", "Getting a new code …");
          else if (!isAnother && performance.now() - started > RELAY_MS) say("The relay does not answer yet. Other devices find this one through it, so the code is shown once it does.");
          shown = undefined;
          return;
        }
        const seconds = Math.max(0, Math.ceil((expiresAt - Date.now()) / 1000));
        $("pair-time").textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
        if (code === shown) return;
        shown = code;
        showCode(offered, code, isAnother);
        isAnother = true;
      };
      const unsubscribe = offered.current.subscribe(() => isCurrent() && draw());
      timer = setInterval(draw, 1_000);
      const session = await offered.session.finally(() => {
        unsubscribe();
        if (isCurrent()) clearInterval(timer);
      });
      if (!isCurrent()) return void session.reject();
      await compare(isCurrent, session, true);
    } catch (error) {
      if (isCurrent()) fail(error, true);
    }
  }

  function showCode(offered, code, isAnother) {
    $("pair-code").querySelector(".shown").textContent = code;
    $("pair-code").querySelector(".hidden").textContent = `Code: ${spelled(code)}`;
    const page = new URL(location.pathname, location.href);
    $("pair-picture").src = `data:image/svg+xml,${encodeURIComponent(offered.qr({ page, scale: 4 }))}`;
    $("pair-link").value = `${page.href}${FRAGMENT}${offered.uri.href}`;
    $("pair-link-label").hidden = true;
    show("code", "Show a code", isAnother ? "There is a new code. Waiting for the other device …" : "Waiting for the other device …", $("pair-code"));
  }

  function type(text = "", complaint = "") {
    begin();
    $("pair-typed").value = text;
    show("type", "Type a code", complaint, $("pair-typed"), complaint !== "");
    $("pair-typed").ariaInvalid = String(complaint !== "");
    $("pair-typed").select();
  }

  async function join(text) {
    const isCurrent = begin();
    const control = new AbortController();
    stop = () => control.abort();
    wait("Connect to another device", "Looking for the other device …");
    try {
      refuseOffline();
      const session = await store.pairing.join(read(text), { signal: control.signal });
      if (!isCurrent()) return void session.reject();
      await compare(isCurrent, session, false);
    } catch (error) {
      if (!isCurrent()) return;
      if (error.code === "invalid") type(text, "That is no code. One looks like 4821-482951, and a link begins with privstack:");
      else fail(error, false, { isLink: /privstack/i.test(text) });
    }
  }

  /** Both users compare the words. */
  async function compare(isCurrent, session, shows) {
    stop = () => session.reject();
    const name = deviceWords(session.peer);
    $("pair-name").textContent = `“${name}”`;
    $("pair-kind").textContent = kindWords(session.peer);
    $("pair-words").replaceChildren(...session.words.map((word) => el("li", {}, word)));
    $("pair-roles").hidden = !shows || store.status.current.role !== "admin";
    $("pair-roles").querySelector("[value=member]").checked = true;
    show("words", "Are the words the same?", "", $("pair-words"));
    let unsubscribe;
    const answer = await new Promise((resolve) => {
      $("pair-match").onclick = () => resolve("match");
      $("pair-differ").onclick = () => resolve("differ");
      unsubscribe = session.step.subscribe((step) => step !== "confirming" && resolve(step));
    });
    unsubscribe();
    if (!isCurrent()) return;
    if (answer === "differ") {
      stop = () => {};
      await session.reject();
      return fail(session.error, shows, { isOwn: true });
    }
    if (answer === "rejected") return fail(session.error, shows);
    if (answer === "match") {
      wait("Almost connected", `Waiting until “${name}” says that they match, too …`);
      const role = $("pair-roles").hidden ? "member" : $("pair-roles").querySelector(":checked").value;
      try {
        await session.confirm({ role });
      } catch (error) {
        if (isCurrent()) fail(error, shows, { compared: true });
        return;
      }
    }
    if (!isCurrent()) return;
    stop = () => {};
    show("done", "Connected", `“${name}” and this device share one vault now. The notes come together by themselves; the line at the top of the page tells how far that is.`, $("pair-done"));
  }

  async function unlock() {
    const isCurrent = begin();
    try {
      await store.pairing.unlock();
      if (isCurrent()) await offer();
    } catch (error) {
      if (isCurrent()) fail(error, true);
    }
  }

  function refuseOffline() {
    if (store.status.current.state === "paused") throw { code: "paused" };
  }

  dialog.addEventListener("close", end);
  for (const button of dialog.querySelectorAll(".pair-close")) button.onclick = () => dialog.close();
  $("pair-typing").onsubmit = (event) => {
    event.preventDefault();
    const text = $("pair-typed").value.trim();
    if (text === "") return type("", "Type the code first, or paste the link.");
    join(text);
  };
  $("copy-link").onclick = async () => {
    $("pair-link-label").hidden = false;
    say(await copy($("pair-link").value, $("pair-link"), "The link"));
  };
  $("show-code").onclick = offer;
  for (const id of ["type-code", "gone-type"]) $(id).onclick = () => type();
  return { join, type, end };
}
