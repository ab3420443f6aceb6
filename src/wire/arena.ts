/**
 * Long-lived memory in which checksums are taken without a copy: regions of WebAssembly's memory, as arrays.
 *
 * A process has one arena, of fixed size. When the arena is full, or there is no WebAssembly, a region is an ordinary
 * array: everything works, and its sums are taken as those of any other array. The arena hands out units, the lowest
 * that fit first, so that it touches little memory, and a returned region joins the free units beside it.
 *
 * Another network may get a region after it was given back. So:
 * - whoever gives a region back is certain that nobody reads or writes it any more: neither a view of it, nor the
 *   kernel, nor Node in a write under way. Whoever is not certain keeps the region, and the arena loses no more than
 *   that;
 * - a region is all zero when it is handed out, as a new array is;
 * - giving a region back a second time does nothing.
 */
import { SCRATCH, simd } from "./checksum-simd.ts";

const UNIT = 16_384;
const FIRST: number = SCRATCH / UNIT;

/** Where each region begins in the memory. */
const bases: WeakMap<Uint8Array, number> = new WeakMap();
/** 1 for each unit that is handed out. */
const taken = new Uint8Array(simd === null ? 0 : simd.memory.length / UNIT).fill(1, 0, FIRST);
/** No unit below this one is free. */
let low: number = FIRST;
/** Units from this one on have never been handed out, so they are still zero. */
let fresh: number = FIRST;

/** An array of `len` bytes, all zero, in the arena if it has room. */
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

/** Returns a region that nobody uses any more. Does nothing for an array outside the arena. */
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

/** The first of the lowest `units` free units in a row; -1 when there are none. */
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
