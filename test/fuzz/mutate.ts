/**
 * Inputs from other inputs: the changes that find faults in parsers (bits, interesting numbers, pieces cut out, doubled
 * or taken from elsewhere), several at a time, by a seeded choice.
 */
import type { SeededRandom } from "../../src/core/random.ts";

const MOST = 20_000;
const INTERESTING = [0, 1, 7, 8, 15, 16, 20, 53, 63, 64, 67, 69, 127, 128, 253, 254, 255];
const INTERESTING16 = [
  0, 1, 7, 8, 19, 20, 39, 40, 64, 255, 256, 576, 1279, 1280, 1500, 4096, 0x7fff, 0x8000, 0xfffe, 0xffff,
];

/** A changed copy of `input`; `other` lends pieces. */
export function mutate(input: Uint8Array, other: Uint8Array, random: SeededRandom): Uint8Array {
  const below = (n: number): number => (n <= 0 ? 0 : random.u32() % n);
  const pick = (list: readonly number[]): number => list[below(list.length)]!;
  let bytes: Uint8Array = input.slice();
  for (let n = 1 + below(4) * below(3); n > 0; n--) {
    const at = below(bytes.length);
    switch (below(10)) {
      case 0:
        if (bytes.length > 0) bytes[at]! ^= 1 << below(8);
        break;
      case 1:
        if (bytes.length > 0) bytes[at] = pick(INTERESTING);
        break;
      case 2:
        if (bytes.length > 0) bytes[at] = below(256);
        break;
      case 3:
      case 4:
        if (bytes.length > at + 1) {
          const value = pick(INTERESTING16);
          bytes[at] = value >> 8;
          bytes[at + 1] = value & 255;
        }
        break;
      case 5:
        bytes = splice(bytes, at, below(Math.min(64, bytes.length - at)) + 1, []);
        break;
      case 6:
        bytes = splice(bytes, at, 0, bytes.subarray(at, at + 1 + below(128)));
        break;
      case 7: {
        const from = below(other.length);
        bytes = splice(bytes, at, below(2) * below(64), other.subarray(from, from + 1 + below(256)));
        break;
      }
      case 8:
        bytes = bytes.slice(0, at);
        break;
      default:
        bytes = splice(
          bytes,
          at,
          0,
          Uint8Array.from({ length: 1 + below(32) }, () => below(256)),
        );
    }
  }
  return bytes.subarray(0, MOST);
}

function splice(bytes: Uint8Array, at: number, gone: number, put: ArrayLike<number>): Uint8Array {
  const rest = bytes.subarray(at + gone);
  const out = new Uint8Array(at + put.length + rest.length);
  out.set(bytes.subarray(0, at));
  out.set(put, at);
  out.set(rest, at + put.length);
  return out;
}

/** The smallest of what is left of `input` by cutting pieces out for which `fails` still holds. */
export function minimise(input: Uint8Array, fails: (bytes: Uint8Array) => boolean): Uint8Array {
  let best = input;
  for (let size = best.length >> 1; size >= 1; size >>= 1) {
    for (let at = 0; at < best.length; ) {
      const shorter = splice(best, at, size, []);
      if (fails(shorter)) best = shorter;
      else at += size;
    }
  }
  return best;
}
