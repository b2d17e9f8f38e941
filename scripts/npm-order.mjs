// node scripts/npm-order.mjs IN.wasm OUT.wasm
//
// Names the functions of a module "000000", "000001" and so on, for `wasm-opt --reorder-functions-by-name`: in the order in
// which gzip makes least of them. gzip finds what was there before within 32 kB only, so like functions have to lie side by
// side: each time the function comes next of which the largest share of bytes has just been there; where none has any,
// the first one by its old name.
import { readFileSync, writeFileSync } from 'node:fs';

/** How far back gzip looks, in bytes. */
const WINDOW = 32_000;
/** Functions are alike where they have pieces of so many bytes in common, */
const PIECE = 6;
/** but for pieces that more functions than this have. */
const COMMON = 400;

const IMPORTS = 2;
const CODE = 10;

const [, , input, output] = process.argv;
const wasm = readFileSync(input);

function uleb(at) {
    let [value, shift] = [0, 0];
    for (;;) {
        const byte = wasm[at++];
        value += (byte & 127) * 2 ** shift;
        if (byte < 128) return [value, at];
        shift += 7;
    }
}

function toUleb(value) {
    const bytes = [];
    for (; value > 127; value = Math.floor(value / 128)) bytes.push((value & 127) | 128);
    return Buffer.from([...bytes, value]);
}

/** With its length before it. */
const sized = (...parts) => {
    const bytes = Buffer.concat(parts);
    return Buffer.concat([toUleb(bytes.length), bytes]);
};

/** Every section's number, start and end. */
function* sections() {
    for (let at = 8; at < wasm.length; ) {
        const [length, start] = uleb(at + 1);
        yield [wasm[at], start, start + length, at];
        at = start + length;
    }
}

function countImportedFunctions(at) {
    let [count, functions] = [0, 0];
    for ([count, at] = uleb(at); count > 0; count--) {
        for (let name = 0; name < 2; name++) {
            const [length, start] = uleb(at);
            at = start + length;
        }
        if (wasm[at] !== 0) throw new Error('npm-order: wasm-bindgen imports functions only');
        functions++;
        at = uleb(at + 1)[1];
    }
    return functions;
}

function readBodies(at) {
    const bodies = [];
    let count;
    for ([count, at] = uleb(at); count > 0; count--) {
        const [length, start] = uleb(at);
        at = start + length;
        bodies.push(wasm.subarray(start, at));
    }
    return bodies;
}

/** The names of all functions, imported ones too, by number. */
function readNames(start, end) {
    const names = [];
    for (let at = start; at < end; ) {
        const [length, inner] = uleb(at + 1);
        // 1: the functions' names.
        if (wasm[at] === 1) {
            let [count, next] = uleb(inner);
            for (; count > 0; count--) {
                const [index, after] = uleb(next);
                const [bytes, name] = uleb(after);
                next = name + bytes;
                names[index] = wasm.toString('latin1', name, next);
            }
        }
        at = inner + length;
    }
    return names;
}

/** The numbers of the functions, in order. */
function order(bodies, names) {
    // Every piece has a number; `having` are the functions that have it.
    const numbers = new Map();
    const having = [];
    const pieces = bodies.map((body, index) => {
        const found = new Set();
        for (let at = 0; at + PIECE <= body.length; at++) {
            const piece = body.readUIntBE(at, PIECE);
            if (!numbers.has(piece)) numbers.set(piece, having.push([]) - 1);
            found.add(numbers.get(piece));
        }
        for (const number of found) having[number].push(index);
        return found;
    });
    const telling = pieces.map((found) =>
        [...found].filter((number) => having[number].length > 1 && having[number].length <= COMMON));

    // How many functions of the window have a piece, and how many pieces of a function the window has.
    const present = new Uint16Array(having.length);
    const alike = new Int32Array(bodies.length);
    const show = (index, by) => {
        for (const number of telling[index]) {
            const before = present[number];
            present[number] += by;
            if (before === 0 || present[number] === 0) for (const other of having[number]) alike[other] += by;
        }
    };

    const byName = [...bodies.keys()].sort((a, b) => (names[a] < names[b] ? -1 : names[a] > names[b] ? 1 : a - b));
    const placed = new Uint8Array(bodies.length);
    const result = [];
    let [first, held] = [0, 0];
    while (result.length < bodies.length) {
        let [next, best] = [-1, 0];
        for (let index = 0; index < bodies.length; index++) {
            const share = placed[index] ? 0 : alike[index] / (pieces[index].size + PIECE);
            if (share > best) [next, best] = [index, share];
        }
        if (next < 0) next = byName.find((index) => !placed[index]);
        placed[next] = 1;
        result.push(next);
        show(next, 1);
        for (held += bodies[next].length; held > WINDOW && first < result.length - 1; first++) {
            held -= bodies[result[first]].length;
            show(result[first], -1);
        }
    }
    return result;
}

let [imported, bodies, oldNames] = [0, [], []];
const kept = [wasm.subarray(0, 8)];
for (const [id, start, end, at] of sections()) {
    if (id === IMPORTS) imported = countImportedFunctions(start);
    if (id === CODE) bodies = readBodies(start);
    // Custom sections have the number 0 and a name.
    if (id === 0) {
        const [length, name] = uleb(start);
        if (wasm.toString('latin1', name, name + length) === 'name') oldNames = readNames(name + length, end);
    } else kept.push(wasm.subarray(at, end));
}
const places = [];
const sortKeys = bodies.map((_, index) => oldNames[imported + index] ?? '');
order(bodies, sortKeys).forEach((index, place) => (places[index] = place));
const names = places.map((place, index) =>
    Buffer.concat([toUleb(imported + index), sized(Buffer.from(String(place).padStart(6, '0')))]));
const functionNames = Buffer.concat([Buffer.from([1]), sized(toUleb(names.length), ...names)]);
const section = Buffer.concat([Buffer.from([0]), sized(sized(Buffer.from('name')), functionNames)]);
writeFileSync(output, Buffer.concat([...kept, section]));
