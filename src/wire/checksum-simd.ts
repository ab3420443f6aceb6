/**
 * Sums bytes, and copies bytes while it sums them, by WebAssembly SIMD: sixteen bytes an instruction. The module is
 * small enough to stand here as bytes, which spares a build step; each line of a function is one line of its text form.
 *
 * Both functions work in place on the module's own memory. Arrays that live elsewhere are copied into its first
 * `SCRATCH` bytes, whose content no later call relies on. The memory behind them belongs to the arena (`arena`). The
 * memory never grows, because growth would detach every view of it.
 */

/** The part of the global WebAssembly object that is used here; ECMAScript's own library does not declare it. */
interface Wasm {
  Module: new (bytes: Uint8Array) => object;
  Instance: new (module: object) => { exports: Exports };
}

interface Exports {
  readonly memory: { readonly buffer: ArrayBuffer };
  sum(at: number, len: number): number;
  copySum(at: number, len: number, to: number): number;
}

/** Sums add up *little-endian* 16-bit words, unfolded, as a signed number; an odd last byte counts as a word. */
export interface Simd {
  /** The module's memory, zero until written. Pages that nobody has written take no room. */
  readonly memory: Uint8Array;
  /** The sum of up to `SCRATCH` bytes at `at` in the memory. */
  sum(at: number, len: number): number;
  /** The same sum, while the bytes are copied to `to`. The two places do not overlap. */
  copySum(at: number, len: number, to: number): number;
}

/** The most bytes that one call sums, and the place where the arena begins. */
export const SCRATCH = 65_536;
/** The memory's size in WebAssembly's pages of 64 KiB: 32 MiB. */
const PAGES = 512;

/** Numbers of the parameters and local variables, the same in both functions; only `copySum` has the parameter `to`. */
const [AT, LEN, TO, END, TOTAL, ACC, PIECE] = [0, 1, 2, 3, 4, 5, 6];

/** Adds n (up to 64) to `at` and, when copying, to `to`. */
function advance(n: number, copies: boolean): number[] {
  const by = n < 64 ? [0x41, n] : [0x41, n | 0x80, 0];
  return [AT, ...(copies ? [TO] : [])].flatMap((local) => [0x20, local, ...by, 0x6a, 0x21, local]);
}

/** Runs `body` and steps on by `step` bytes until `len & mask` bytes are done. `mask` is the encoding of a constant. */
function loop(mask: number, step: number, copies: boolean, body: number[]): number[] {
  return [
    ...[0x20, AT, 0x20, LEN, 0x41, mask, 0x71, 0x6a, 0x21, END], // end = at + (len & mask)
    ...[0x02, 0x40, 0x03, 0x40], // block, loop
    ...[0x20, AT, 0x20, END, 0x4f, 0x0d, 0x01], // leave when at >= end
    ...body,
    ...advance(step, copies),
    ...[0x0c, 0x00, 0x0b, 0x0b], // repeat; end, end
  ];
}

/** Adds sixteen bytes at `offset` to `acc`, and copies them to `to`. */
function sixteen(offset: number, copies: boolean): number[] {
  return [
    ...(copies ? [0x20, TO] : []),
    ...[0x20, AT, 0xfd, 0x00, 0x00, offset, 0x22, PIECE], // piece = v128.load offset
    ...(copies ? [0xfd, 0x0b, 0x00, offset] : [0x1a]), // v128.store offset, or drop
    ...[0x20, ACC, 0x20, PIECE, 0xfd, 0x7f, 0xfd, 0xae, 0x01, 0x21, ACC], // acc = i32x4.add(acc, i32x4.extadd_pairwise_i16x8_u(piece))
  ];
}

/** Adds one or two bytes, by the codes of their load and store, to `total`, and copies them to `to`. */
function few(load: number, store: number, copies: boolean): number[] {
  return [
    ...(copies ? [0x20, TO, 0x20, AT, load, 0x00, 0x00, store, 0x00, 0x00] : []),
    ...[0x20, TOTAL, 0x20, AT, load, 0x00, 0x00, 0x6a, 0x21, TOTAL], // total += load
  ];
}

/** A function's code: sixty-four bytes at a time, then sixteen, two, one. */
function code(copies: boolean): number[] {
  return [
    ...[0x02, copies ? 2 : 3, 0x7f, 0x02, 0x7b], // locals: (to), end, total i32; acc, piece v128
    ...loop(
      0x40, // -64
      64,
      copies,
      [0, 16, 32, 48].flatMap((offset) => sixteen(offset, copies)),
    ),
    ...loop(0x30, 16, copies, sixteen(0, copies)),
    ...[0, 1, 2, 3].flatMap((lane) => [0x20, ACC, 0xfd, 0x1b, lane, 0x20, TOTAL, 0x6a, 0x21, TOTAL]), // total += lane
    ...loop(0x0e, 2, copies, few(0x2f, 0x3b, copies)),
    ...loop(0x01, 1, copies, few(0x2d, 0x3a, copies)),
    ...[0x20, TOTAL, 0x0b],
  ];
}

function name(text: string): number[] {
  return [text.length, ...[...text].map((c) => c.charCodeAt(0))];
}

function section(id: number, body: number[]): number[] {
  return [id, ...leb(body.length), ...body];
}

function leb(n: number): number[] {
  return n < 128 ? [n] : [(n & 127) | 128, n >> 7];
}

function sized(body: number[]): number[] {
  return [...leb(body.length), ...body];
}

const MODULE = new Uint8Array([
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
  ...section(1, [2, 0x60, 2, 0x7f, 0x7f, 1, 0x7f, 0x60, 3, 0x7f, 0x7f, 0x7f, 1, 0x7f]), // (i32, i32) -> i32, (i32, i32, i32) -> i32
  ...section(3, [2, 0, 1]), // functions 0 and 1 have types 0 and 1
  ...section(5, [1, 1, ...leb(PAGES), ...leb(PAGES)]), // a memory of `PAGES` pages, at least and at most
  ...section(7, [3, ...name("memory"), 2, 0, ...name("sum"), 0, 0, ...name("copySum"), 0, 1]),
  ...section(10, [2, ...sized(code(false)), ...sized(code(true))]),
]);

/** The module; null without SIMD, or without room for its memory. */
export const simd: Simd | null = load();

function load(): Simd | null {
  const wasm = (globalThis as { WebAssembly?: Wasm }).WebAssembly;
  if (wasm === undefined) return null;
  try {
    const { memory, sum, copySum } = new wasm.Instance(new wasm.Module(MODULE)).exports;
    return { memory: new Uint8Array(memory.buffer), sum, copySum };
  } catch {
    return null;
  }
}
