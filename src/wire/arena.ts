/**
 * Long-lived memory that checksums are taken in without a copy: regions of WebAssembly's memory, as arrays.
 *
 * The arena is one for the process and of fixed size. Where it is used up, or there is no WebAssembly, a region is an
 * ordinary array: everything works, and sums are taken as of any other array. Room is handed out in units, the lowest
 * that fit first, so that little of it is ever touched and what comes back joins what is free beside it.
 *
 * A region may serve another network after it was given back, so:
 * - whoever gives it back is certain that nobody reads or writes it any more: neither a view of it, nor the kernel, nor
 *   Node for a write under way. Who is not certain keeps it, and it is lost to the arena, no more;
 * - it comes as a new array would: all zero;
 * - giving back twice does nothing the second time.
 */
import { SCRATCH, simd } from "./checksum-simd.ts";

const UNIT = 16_384;
const FIRST: number = SCRATCH / UNIT;

/** Where each region begins in the memory. */
const bases: WeakMap<Uint8Array, number> = new WeakMap();
/** 1 for each unit that is out. */
const taken = new Uint8Array(simd === null ? 0 : simd.memory.length / UNIT).fill(1, 0, FIRST);
/** No unit below is free. */
let low: number = FIRST;
/** No unit from here on was ever out. */
let fresh: number = FIRST;

/** An array of `len` bytes, all zero, of the arena if there is room. */
export function region(len: number): Uint8Array {
  const units = Math.ceil(len / UNIT);
  const first = find(units);
  if (first < 0) return new Uint8Array(len);
  taken.fill(1, first, first + units);
  const base = first * UNIT;
  const bytes = new Uint8Array(simd!.memory.buffer, base, len);
  if (first < fresh) bytes.fill(0);
  fresh = Math.max(fresh, first + units);
  bases.set(bytes, base);
  return bytes;
}

/** Nobody uses it any more. Nothing happens for an array that is not of the arena. */
export function giveBack(bytes: Uint8Array): void {
  const base = bases.get(bytes);
  if (base === undefined) return;
  bases.delete(bytes);
  const first = base / UNIT;
  taken.fill(0, first, first + Math.ceil(bytes.length / UNIT));
  low = Math.min(low, first);
}

/** Where a region begins in the arena's memory; -1 for any other array. */
export function baseOf(bytes: Uint8Array): number {
  return bases.get(bytes) ?? -1;
}

/** The lowest `units` free ones in a row; -1 when there are none. */
function find(units: number): number {
  let run = 0;
  let seen = false;
  for (let at = low; at < taken.length; at++) {
    if (taken[at] !== 0) {
      run = 0;
      continue;
    }
    if (!seen) {
      seen = true;
      low = at;
    }
    if (++run === units) return at + 1 - units;
  }
  if (!seen) low = taken.length;
  return -1;
}
