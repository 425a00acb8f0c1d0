/**
 * QR codes (ISO/IEC 18004, byte mode, error correction M, versions 1 to 40), for seeds of authenticator apps. Loaded only when
 * a person asks for one. Nothing leaves the page.
 */

/** Codewords for correction in each block, and blocks, by version. */
const CORRECTION = [10, 16, 26, 18, 24, 16, 18, 22, 22, 26, 30, 22, 22, 24, 24, 28, 28, 26, 26, 26, 26, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28];
const BLOCKS = [1, 1, 1, 2, 2, 4, 4, 4, 5, 5, 5, 8, 9, 9, 10, 10, 11, 13, 14, 16, 17, 17, 18, 20, 21, 23, 25, 26, 28, 29, 31, 33, 35, 37, 38, 40, 43, 45, 47, 49];

type Grid = boolean[][];

const MASKS: readonly ((x: number, y: number) => boolean)[] = [
  (x, y) => (x + y) % 2 === 0,
  (_, y) => y % 2 === 0,
  (x) => x % 3 === 0,
  (x, y) => (x + y) % 3 === 0,
  (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2 === 0,
  (x, y) => ((x * y) % 2) + ((x * y) % 3) === 0,
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2 === 0,
  (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2 === 0,
];

/** What an authenticator app reads: the seed's own address, or one made of a bare seed. */
export function otpAddress(value: string, name: string, issuer: string): string {
  const seed = value.trim();
  if (/^otpauth:/i.test(seed)) return seed;
  const label = encodeURIComponent(issuer ? issuer + ':' + name : name);
  const from = issuer ? '&issuer=' + encodeURIComponent(issuer) : '';
  return `otpauth://totp/${label}?secret=${seed.replace(/[\s=-]/g, '').toUpperCase()}${from}`;
}

/** The picture of a seed: dark on light in every colour scheme, with a quiet zone. */
export function draw(value: string, name: string, issuer: string, label: string): SVGElement {
  const grid = encode(new TextEncoder().encode(otpAddress(value, name, issuer)));
  const make = (tag: string, attributes: Record<string, string>): SVGElement => {
    const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
    for (const [key, text] of Object.entries(attributes)) element.setAttribute(key, text);
    return element as SVGElement;
  };
  const size = String(grid.length + 8);
  const path = grid.flatMap((row, y) => row.flatMap((dark, x) => (dark ? [`M${x + 4} ${y + 4}h1v1h-1z`] : []))).join('');
  const picture = make('svg', { class: 'qr', viewBox: `0 0 ${size} ${size}`, role: 'img', 'aria-label': label, 'shape-rendering': 'crispEdges' });
  picture.append(make('rect', { width: size, height: size, fill: '#fff' }), make('path', { d: path, fill: '#000' }));
  return picture;
}

/** The modules of a code, `[y][x]`, dark ones true. Throws where the text is too long for any version. */
export function encode(text: Uint8Array): Grid {
  const version = BLOCKS.findIndex((_, at) => (at < 9 ? 12 : 20) + 8 * text.length <= 8 * dataWords(at + 1)) + 1;
  if (version === 0) throw new RangeError('too long for a QR code');
  const { grid, fixed } = frame(version);
  place(interleave(words(text, version), version), grid, fixed);
  let best: { grid: Grid; cost: number } | undefined;
  for (const [mask, dark] of MASKS.entries()) {
    const masked = grid.map((row, y) => row.map((module, x) => module !== (!fixed[y]![x] && dark(x, y))));
    format(masked, mask);
    const cost = penalty(masked);
    if (!best || cost < best.cost) best = { grid: masked, cost };
  }
  return best!.grid;
}

/** Codewords of a version, before those for correction are taken off. */
function allWords(version: number): number {
  const aligns = version > 1 ? Math.floor(version / 7) + 2 : 0;
  const patterns = version > 1 ? (25 * aligns - 10) * aligns - 55 : 0;
  return Math.floor(((16 * version + 128) * version + 64 - patterns - (version > 6 ? 36 : 0)) / 8);
}

function dataWords(version: number): number {
  return allWords(version) - CORRECTION[version - 1]! * BLOCKS[version - 1]!;
}

/** Mode, length, text and filling. */
function words(text: Uint8Array, version: number): number[] {
  const bits: number[] = [];
  const push = (value: number, length: number): void => {
    for (let i = length - 1; i >= 0; i--) bits.push((value >> i) & 1);
  };
  push(4, 4);
  push(text.length, version < 10 ? 8 : 16);
  text.forEach((byte) => push(byte, 8));
  const room = 8 * dataWords(version);
  push(0, Math.min(4, room - bits.length));
  push(0, -bits.length & 7);
  for (let fill = 0xec; bits.length < room; fill ^= 0xec ^ 0x11) push(fill, 8);
  return Array.from({ length: room / 8 }, (_, at) => bits.slice(8 * at, 8 * at + 8).reduce((word, bit) => 2 * word + bit, 0));
}

/** A product in GF(256) over x^8 + x^4 + x^3 + x^2 + 1. */
function times(a: number, b: number): number {
  let product = 0;
  for (let i = 7; i >= 0; i--) product = (product << 1) ^ (product >> 7 ? 0x11d : 0) ^ ((b >> i) & 1 ? a : 0);
  return product;
}

/** The Reed–Solomon remainder of a block. */
function correction(block: readonly number[], count: number): number[] {
  const divisor: number[] = [...Array<number>(count - 1).fill(0), 1];
  for (let i = 0, root = 1; i < count; i++, root = times(root, 2)) {
    for (let k = 0; k < count; k++) divisor[k] = times(divisor[k]!, root) ^ (divisor[k + 1] ?? 0);
  }
  const rest = Array<number>(count).fill(0);
  for (const word of block) {
    const factor = word ^ rest.shift()!;
    rest.push(0);
    divisor.forEach((one, k) => (rest[k]! ^= times(one, factor)));
  }
  return rest;
}

/** Blocks with their correction, word by word in turn. The last blocks have one word more. */
function interleave(data: readonly number[], version: number): number[] {
  const [count, extra] = [BLOCKS[version - 1]!, CORRECTION[version - 1]!];
  const short = Math.floor(data.length / count);
  const long = data.length % count;
  const blocks: number[][] = [];
  for (let i = 0, at = 0; i < count; i++) {
    const length = short + (i >= count - long ? 1 : 0);
    blocks.push(data.slice(at, (at += length)));
  }
  const corrections = blocks.map((block) => correction(block, extra));
  const turn = (lists: number[][], length: number): number[] => Array.from({ length }, (_, k) => lists.flatMap((list) => list[k] ?? [])).flat();
  return [...turn(blocks, short + 1), ...turn(corrections, extra)];
}

/** The patterns that every code of a version has. `fixed`: what holds no data. */
function frame(version: number): { grid: Grid; fixed: Grid } {
  const size = 17 + 4 * version;
  const [grid, fixed]: [Grid, Grid] = [blank(size), blank(size)];
  const put = (x: number, y: number, dark: boolean): void => {
    if (x < 0 || y < 0 || x >= size || y >= size) return;
    grid[y]![x] = dark;
    fixed[y]![x] = true;
  };
  const square = (cx: number, cy: number, reach: number, light: readonly number[]): void => {
    for (let y = -reach; y <= reach; y++) for (let x = -reach; x <= reach; x++) put(cx + x, cy + y, !light.includes(Math.max(Math.abs(x), Math.abs(y))));
  };
  for (let i = 0; i < size; i++) {
    put(6, i, i % 2 === 0);
    put(i, 6, i % 2 === 0);
  }
  const aligns = alignments(version, size);
  for (const x of aligns) {
    for (const y of aligns) {
      const corner = (x === 6 && (y === 6 || y === size - 7)) || (y === 6 && x === size - 7);
      if (!corner) square(x, y, 2, [1]);
    }
  }
  for (const [x, y] of [[3, 3], [size - 4, 3], [3, size - 4]] as const) square(x, y, 4, [2, 4]);
  for (let i = 0; i < 9; i++) {
    fixed[8]![i] = fixed[i]![8] = true;
    if (i < 8) fixed[8]![size - 1 - i] = fixed[size - 1 - i]![8] = true;
  }
  put(8, size - 8, true);
  if (version > 6) {
    let rest = version;
    for (let i = 0; i < 12; i++) rest = (rest << 1) ^ ((rest >> 11) * 0x1f25);
    const bits = (version << 12) | rest;
    for (let i = 0; i < 18; i++) {
      const [a, b] = [size - 11 + (i % 3), Math.floor(i / 3)];
      put(a, b, ((bits >> i) & 1) === 1);
      put(b, a, ((bits >> i) & 1) === 1);
    }
  }
  return { grid, fixed };
}

function blank(size: number): Grid {
  return Array.from({ length: size }, () => Array<boolean>(size).fill(false));
}

function alignments(version: number, size: number): number[] {
  if (version === 1) return [];
  const count = Math.floor(version / 7) + 2;
  const step = version === 32 ? 26 : Math.ceil((4 * version + 4) / (2 * count - 2)) * 2;
  return [6, ...Array.from({ length: count - 1 }, (_, i) => size - 7 - step * i)];
}

/** Lays the words out: two columns at a time from the right, up and down in turn. */
function place(all: readonly number[], grid: Grid, fixed: Grid): void {
  const size = grid.length;
  let bit = 0;
  for (let right = size - 1; right > 0; right -= 2) {
    if (right === 6) right = 5;
    for (let i = 0; i < size; i++) {
      for (const x of [right, right - 1]) {
        const y = ((right + 1) & 2) === 0 ? size - 1 - i : i;
        if (fixed[y]![x]) continue;
        grid[y]![x] = (((all[bit >> 3] ?? 0) >> (7 - (bit & 7))) & 1) === 1;
        bit += 1;
      }
    }
  }
}

/** Correction level and mask, twice. */
function format(grid: Grid, mask: number): void {
  const size = grid.length;
  let rest = mask;
  for (let i = 0; i < 10; i++) rest = (rest << 1) ^ ((rest >> 9) * 0x537);
  const bits = ((mask << 10) | rest) ^ 0x5412;
  for (let i = 0; i < 15; i++) {
    const dark = ((bits >> i) & 1) === 1;
    if (i < 6) grid[i]![8] = dark;
    else if (i < 8) grid[i + 1]![8] = dark;
    else grid[8]![i === 8 ? 7 : 14 - i] = dark;
    if (i < 8) grid[8]![size - 1 - i] = dark;
    else grid[size - 15 + i]![8] = dark;
  }
}

/** How hard a code is to read: long runs, blocks, what looks like a corner, and too much of one colour. */
function penalty(grid: Grid): number {
  const size = grid.length;
  const text = (line: readonly boolean[]): string => line.map(Number).join('');
  const lines = [...grid.map(text), ...grid.map((_, x) => text(grid.map((row) => row[x]!)))];
  let cost = 0;
  for (const line of lines) {
    for (const [run] of line.matchAll(/0{5,}|1{5,}/g)) cost += run.length - 2;
    cost += 40 * [...line.matchAll(/(?=00001011101|10111010000)/g)].length;
  }
  for (let y = 1; y < size; y++) {
    for (let x = 1; x < size; x++) {
      const dark = grid[y]![x];
      if (dark === grid[y - 1]![x] && dark === grid[y]![x - 1] && dark === grid[y - 1]![x - 1]) cost += 3;
    }
  }
  const dark = grid.flat().filter(Boolean).length / size ** 2;
  return cost + 10 * Math.floor(Math.abs(dark - 0.5) * 20);
}
