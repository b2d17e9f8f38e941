// What the notes board does with a text that two sides change: www/merge.js.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import test from "node:test";

const source = await readFile(new URL("../../../www/merge.js", import.meta.url), "utf8");
const { difference, merged, stretches } = await import(`data:text/javascript,${encodeURIComponent(source)}`);

let seed = 11;
const random = below => (seed = (seed * 48_271) % 2_147_483_647) % below;
const LETTERS = [..."abc ", "é", "🚆", "🚪"];
const some = most => Array.from({ length: random(most + 1) }, () => LETTERS[random(LETTERS.length)]).join("");
const apply = (text, changes) => changes.toReversed().reduce((now, [at, gone, added]) => now.slice(0, at) + added + now.slice(at + gone), text);

/** The text with a few edits, none within a pair. */
function edited(text, most) {
  const letters = [...text];
  for (let edits = random(most + 1); edits > 0; edits -= 1) {
    letters.splice(random(letters.length + 1), random(4), ...some(6));
  }
  return letters.join("");
}

test("the differences of two texts make one of the other, and cut no pair", () => {
  for (let round = 0; round < 3_000; round += 1) {
    const before = some(40);
    const after = edited(before, 3);
    const changes = stretches(before, after);
    assert.equal(apply(before, changes), after);
    assert.equal(apply(before, [difference(before, after)]), after);
    for (const [, , added] of changes) assert.ok(added.isWellFormed(), JSON.stringify([before, after, changes]));
    assert.ok(changes.every(([at, gone], place) => place === 0 || changes[place - 1][0] + changes[place - 1][1] <= at), "in order");
  }
});

test("what both sides have typed is there, and what one has erased is gone", () => {
  assert.equal(merged("by train", "by fast train", "by train at nine"), "by fast train at nine");
  assert.equal(merged("one two three", "one three", "zero one two three four"), "zero one three four");
  assert.equal(merged("a", "ab", "ac"), "abc", "mine comes first");
  for (let round = 0; round < 3_000; round += 1) {
    const base = some(40);
    const mine = edited(base, 1);
    const theirs = edited(base, 3);
    assert.equal(merged(base, mine, base), mine);
    assert.equal(merged(base, base, theirs), theirs);
    const together = merged(base, mine, theirs);
    for (const added of [mine, theirs].flatMap(side => stretches(base, side).map(change => change[2]))) {
      assert.ok(together.includes(added), JSON.stringify([base, mine, theirs, together]));
    }
    assert.ok(together.isWellFormed(), JSON.stringify([base, mine, theirs, together]));
  }
});
