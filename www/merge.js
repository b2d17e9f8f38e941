// Two sides of one text: in what they differ, and what they make together.

/** What `base` reads like with what two sides have made of it. Typed at the same place, `mine` comes first. */
export function merged(base, mine, theirs) {
  if (theirs === base) return mine;
  if (mine === base) return theirs;
  const changes = [mine, theirs].flatMap((side) => stretches(base, side)).sort((a, b) => a[0] - b[0]);
  let text = "";
  let taken = 0;
  for (const [at, gone, added] of changes) {
    if (at > taken) text += base.slice(taken, at);
    text += added;
    taken = Math.max(taken, at + gone);
  }
  return text + base.slice(taken);
}

/** The stretches in which two strings differ, in order: where, how much goes, what comes. */
export function stretches(before, after, from = 0) {
  const [at, gone, added] = difference(before, after);
  if (gone === 0 && added === "") return [];
  const removed = before.slice(at, at + gone);
  const [left, right, length] = common(removed, added);
  if (length === 0) return [[from + at, gone, added]];
  return [
    ...stretches(removed.slice(0, left), added.slice(0, right), from + at),
    ...stretches(removed.slice(left + length), added.slice(right + length), from + at + left + length),
  ];
}

/** Shorter ones stay the same by chance. */
const MIN_COMMON = 3;
/** Longer ones are compared as a whole. */
const MAX_COMPARED = 1_000_000;

/** The longest text that two strings share: where in each, and how long. */
function common(one, other) {
  let best = [0, 0, 0];
  if (one.length * other.length > MAX_COMPARED) return best;
  let above = new Uint32Array(other.length + 1);
  for (let i = 0; i < one.length; i += 1) {
    const row = new Uint32Array(other.length + 1);
    for (let j = 0; j < other.length; j += 1) {
      if (one[i] !== other[j]) continue;
      row[j + 1] = above[j] + 1;
      if (row[j + 1] > best[2]) best = [i + 1 - row[j + 1], j + 1 - row[j + 1], row[j + 1]];
    }
    above = row;
  }
  let [left, right, length] = best;
  if (length > 0 && isLow(one, left)) [left, right, length] = [left + 1, right + 1, length - 1];
  if (length > 0 && isHigh(one, left + length - 1)) length -= 1;
  return length < MIN_COMMON ? [0, 0, 0] : [left, right, length];
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
