// What a note is.

import { schema, t } from "./sync/dist/index.js";

export const app = schema({
  note: {
    title: t.string().default(""),
    text: t.text(),
    colour: t.string().default("plain"),
    tags: t.set(t.string()),
    done: t.boolean().default(false),
    /** Notes stand in this order; a note moved between two others gets a number between theirs. */
    place: t.number().default(0),
  },
});

export const COLOURS = ["plain", "yellow", "green", "blue", "pink"];

/** Names of fields as the page shows them. */
export const FIELDS = { title: "title", text: "text", colour: "colour", tags: "tags", done: "tick for done", place: "place on the board" };
