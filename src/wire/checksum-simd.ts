/**
 * Summing by WebAssembly SIMD: sixteen bytes an instruction. The module is small enough to be written out here, which
 * spares a build step; each line of `CODE` is one line of its text form.
 *
 * The bytes are copied into the module's memory first. That memory is shared by all callers: nothing is left in it
 * between two calls that a later call relies on.
 */

/** The part of the global WebAssembly object that is used here; ECMAScript's own library does not declare it. */
interface Wasm {
  Module: new (bytes: Uint8Array) => object;
  Instance: new (module: object) => { exports: { memory: { buffer: ArrayBuffer }; sum: (len: number) => number } };
}

const CODE = [
  [0x02, 0x01, 0x7f, 0x01, 0x7b], // locals: at i32, acc v128 (len is the parameter)
  [0x03, 0x40], // loop
  ...[0, 16, 32, 48].flatMap((offset) => [
    [0x20, 0x02, 0x20, 0x01], // acc, at
    [0xfd, 0x00, 0x00, offset], // v128.load offset
    [0xfd, 0x7f], // i32x4.extadd_pairwise_i16x8_u
    [0xfd, 0xae, 0x01, 0x21, 0x02], // i32x4.add, to acc
  ]),
  [0x20, 0x01, 0x41, 0xc0, 0x00, 0x6a, 0x22, 0x01], // at += 64
  [0x20, 0x00, 0x49, 0x0d, 0x00, 0x0b], // again while at < len; end
  [0x20, 0x02, 0xfd, 0x1b, 0x00, 0x20, 0x02, 0xfd, 0x1b, 0x01, 0x6a], // the four lanes' sum
  [0x20, 0x02, 0xfd, 0x1b, 0x02, 0x6a, 0x20, 0x02, 0xfd, 0x1b, 0x03, 0x6a],
  [0x0b],
].flat();

function name(text: string): number[] {
  return [text.length, ...[...text].map((c) => c.charCodeAt(0))];
}

function section(id: number, body: number[]): number[] {
  return [id, ...leb(body.length), ...body];
}

function leb(n: number): number[] {
  return n < 128 ? [n] : [(n & 127) | 128, n >> 7];
}

const MODULE = new Uint8Array([
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
  ...section(1, [1, 0x60, 1, 0x7f, 1, 0x7f]), // type 0: (i32) -> i32
  ...section(3, [1, 0]), // function 0 has type 0
  ...section(5, [1, 0, 2]), // a memory of two pages
  ...section(7, [2, ...name("memory"), 2, 0, ...name("sum"), 0, 0]),
  ...section(10, [1, ...leb(CODE.length), ...CODE]),
]);

/** The most bytes `simdSum` takes. */
export const SIMD_MOST = 65_536;

/**
 * A function that sums up to `SIMD_MOST` bytes, at least one, as *little-endian* words, unfolded; null where there is
 * no SIMD. The Internet checksum does not care about the byte order but for a swap of the folded result (RFC 1071
 * section 2 (B)).
 */
export const simdSum: ((buf: Uint8Array, at: number, len: number) => number) | null = load();

function load(): ((buf: Uint8Array, at: number, len: number) => number) | null {
  const wasm = (globalThis as { WebAssembly?: Wasm }).WebAssembly;
  if (wasm === undefined) return null;
  try {
    const { memory, sum } = new wasm.Instance(new wasm.Module(MODULE)).exports;
    const scratch = new Uint8Array(memory.buffer);
    return (buf, at, len) => {
      scratch.set(buf.subarray(at, at + len), 0);
      scratch.fill(0, len, (len + 63) & ~63);
      return sum(len) >>> 0;
    };
  } catch {
    return null;
  }
}
