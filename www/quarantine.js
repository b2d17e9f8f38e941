// What a device wrote after it lost the right to, before it heard of that, is not among the notes. Here it is shown; its
// device puts it in once it may write again, an Admin whenever it likes.

import { $, attempt, copy, el, toast } from "./dom.js";
import { mayWrite, onRights } from "./rights.js";
import { flush } from "./typing.js";
import { restoreUnsaved, setLeftOut } from "./unsaved.js";
import { count, deviceWords, leftOutWords, refusalWords, shortId } from "./words.js";

/** What its user wants to hear of no more: author, note and number of commits. */
const HIDDEN = "notes-board left out";

const keyOf = ({ by, id, commits }) => `${by} ${id} ${commits}`;

function hidden() {
  try {
    return new Set(JSON.parse(localStorage.getItem(HIDDEN) ?? "[]"));
  } catch {
    return new Set(); // the browser keeps nothing
  }
}

/** Shows what is left out. Resolves once that is known for the first time. */
export function showLeftOut(store) {
  const own = store.device.id;

  const nameOf = (by) => {
    if (by === own) return "This device";
    const peer = store.peers.current.find(({ id }) => id === by);
    return peer ? deviceWords(peer) : `Device\u00a0${shortId(by)}`;
  };
  /** By author, this device first: of the others an Admin's device shows something only, as it alone can take it in. */
  const groups = () => {
    const { role } = store.status.current;
    const shown = store.quarantine.current.filter((item) => item.type === "note" && (item.by === own || role === "admin"));
    const authors = [...new Set(shown.map(({ by }) => by))].sort((a, b) => (b === own) - (a === own));
    return authors.map((by) => ({ by, notes: shown.filter((item) => item.by === by) }));
  };

  const draw = () => {
    const isHidden = hidden();
    const worth = groups().filter(({ notes }) => notes.some((item) => !isHidden.has(keyOf(item))));
    setLeftOut(store.quarantine.current.filter((item) => item.by === own && !isHidden.has(keyOf(item))).map(({ id }) => id));
    $("left-out").hidden = worth.length === 0;
    const words = worth.map(({ by, notes }) => leftOutWords(nameOf(by), by === own, notes));
    // What says the same is left alone: it is read aloud, and may have the focus.
    if (words.join("\n") !== [...$("left-out-words").children].map((line) => line.textContent).join("\n")) {
      $("left-out-words").replaceChildren(...words.map((text) => el("p", {}, text)));
    }
    if (!$("left-out-dialog").open || look() === shown) return;
    fill();
    if (groups().length === 0) $("left-out-dialog").close();
  };

  const act = async (button, work, done) => {
    $("left-out-says").textContent = "";
    button.disabled = true;
    try {
      flush();
      await work();
      toast(done);
    } catch (error) {
      $("left-out-says").textContent = refusalWords(error, store.status.current.role, "Nothing was changed");
    } finally {
      button.disabled = false;
    }
  };
  const putBack = async () => {
    await store.quarantine.writeAgain();
    setLeftOut([]);
    await restoreUnsaved(store);
  };

  const actions = ({ by, notes }) => {
    const button = (words, work, done) => el("button", { type: "button", className: "primary", onclick: (event) => act(event.target, work, done) }, words);
    const { role } = store.status.current;
    if (by !== own) return [button("Take it into the notes", () => store.quarantine.accept(by), "It is in the notes now.")];
    if (mayWrite()) return [button("Put it into the notes", putBack, "It is in the notes again.")];
    if (role !== "readOnly") return [el("p", { className: "quiet" }, "Once this device is in your vault again, you can put it into the notes here.")];
    if (notes.every(({ requested }) => requested)) return [el("p", { className: "quiet" }, "Your Admin devices are asked to take it in.")];
    return [button("Ask an Admin to take it in", () => store.quarantine.ask(), "Your Admin devices are asked.")];
  };

  let shown;
  const look = () => JSON.stringify([groups().map((group) => [nameOf(group.by), group]), store.status.current.role, mayWrite()]);
  const fill = () => {
    shown = look();
    $("left-out-list").replaceChildren(...groups().map((group) => {
      const title = nameOf(group.by);
      return el("section", { ariaLabel: title },
        el("h3", {}, `${title}: ${count(group.notes.length, "note")}`),
        el("ul", {}, ...group.notes.map((item) => noteLine(item))),
        el("div", { className: "row" }, ...actions(group)));
    }));
  };

  $("show-left-out").onclick = () => {
    fill();
    $("left-out-says").textContent = "";
    $("left-out-dialog").showModal();
  };
  $("hide-left-out").onclick = () => {
    try {
      localStorage.setItem(HIDDEN, JSON.stringify(store.quarantine.current.map(keyOf)));
    } catch {
      toast("This browser has no room to remember that.");
    }
    draw();
    attempt(() => restoreUnsaved(store), { background: true });
  };

  store.quarantine.subscribe(draw);
  store.peers.subscribe(draw); // their names
  onRights(draw);
  return store.quarantine.list();
}

/** A note as its author saw it. */
function noteLine({ deleted, fields }) {
  const title = fields.title || "Untitled";
  const text = el("p", { className: "left-out-text", tabIndex: -1 }, fields.text);
  const says = el("span", { className: "quiet", role: "status" });
  return el("li", {},
    el("strong", {}, title), ...(deleted ? [el("span", { className: "quiet" }, " (deleted there)")] : []), text,
    el("div", { className: "row" },
      el("button", { type: "button", className: "plain", ariaLabel: `Copy the text of ${title}`, onclick: async () => { says.textContent = await copy(fields.text, text, "The text"); } }, "Copy the text"), says));
}
