// Connects two devices that are not online at the same time, by a text that one makes for the other.

import { $, copy } from "./dom.js";

const IS_ID = /^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}$/;
const IS_INVITE = /^privstack-invite-1:/;

/** The dialog for those who cannot use a code. */
export function inviteDialog(store) {
  const say = (text, field) => {
    $("connect-words").textContent = text;
    $("connect-words").className = field ? "wrong" : "";
    for (const one of ["peer-id", "invite-in"]) $(one).ariaInvalid = String(one === field);
    if (field) $(field).focus();
  };
  $("own-id").textContent = store.device.id;
  $("connect").onclick = () => {
    say("");
    for (const field of ["peer-id", "invite-in", "invite-out"]) $(field).value = "";
    $("invite-made").hidden = true;
    $("connecting").showModal();
  };
  $("copy-id").onclick = () => copy(store.device.id, $("own-id"), "The id").then(say);
  $("copy-invite").onclick = () => copy($("invite-out").value, $("invite-out"), "The invite").then(say);
  $("inviting").onsubmit = async (event) => {
    event.preventDefault();
    const id = $("peer-id").value.trim();
    $("invite-made").hidden = true;
    if (id === "") return say("Paste the id of the other device first.", "peer-id");
    if (id === store.device.id) return say("That is the id of this device; the other one has its own.", "peer-id");
    if (!IS_ID.test(id)) return say("That is no device's id: one has 52 letters and begins with 12D3KooW.", "peer-id");
    try {
      $("invite-out").value = await store.invite(id);
      $("invite-made").hidden = false;
      $("invite-out").select();
      say("Copy the invite to the other device; it is of use to that one only.");
    } catch (error) {
      say(`No invite was made: ${error.message}.`, "peer-id");
    }
  };
  $("joining").onsubmit = async (event) => {
    event.preventDefault();
    const invite = $("invite-in").value.trim();
    if (invite === "") return say("Paste an invite first.", "invite-in");
    if (!IS_INVITE.test(invite)) return say("That is no invite: one begins with privstack-invite-1:", "invite-in");
    try {
      say("Joining …");
      await store.join(invite);
      $("invite-in").value = "";
      say("Joined. What the other devices have comes now.");
    } catch (error) {
      say(`Not joined: ${error.message}.`, "invite-in");
    }
  };
}
