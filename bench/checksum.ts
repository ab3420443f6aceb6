/** The Internet checksum: `sum`, which takes SIMD where it pays, in place and not, against `scalarSum`; and with a copy. */

import { region } from "../src/wire/arena.ts";
import { copySum, finish, scalarSum, sum } from "../src/wire/checksum.ts";
import { internetChecksum } from "../test/support/frames.ts";
import { SeededRandom } from "../test/support/random.ts";
import { type Case, same } from "./case.ts";

const SIZES = [20, 128, 1460, 65_000];
/** Each call sums at so many even offsets, so that no result can be kept from one to the next. */
const OFFSETS = 16;

export function checksumCases(): Case[] {
  const random = new SeededRandom(1);
  const buf = Uint8Array.from({ length: 65_536 }, () => random.u32() & 255);
  const place = region(buf.length);
  place.set(buf);
  const target = region(buf.length);
  // A loop for each: with one for both, the one measured first would be the only one that is inlined.
  const withSimd = (len: number): number => {
    let total = 0;
    for (let k = 0; k < OFFSETS; k++) total += sum(buf, k * 2, len);
    return total;
  };
  const scalar = (len: number): number => {
    let total = 0;
    for (let k = 0; k < OFFSETS; k++) total += scalarSum(buf, k * 2, len);
    return total;
  };
  const inPlace = (len: number): number => {
    let total = 0;
    for (let k = 0; k < OFFSETS; k++) total += sum(place, k * 2, len);
    return total;
  };
  const copying = (len: number): number => {
    let total = 0;
    for (let k = 0; k < OFFSETS; k++) total += copySum(place, k * 2, len, target, k);
    return total;
  };
  return SIZES.flatMap((len) => [
    one("sum, in place", inPlace, buf, len),
    one("copySum", copying, buf, len),
    one("sum, array elsewhere", withSimd, buf, len),
    one("scalarSum", scalar, buf, len),
  ]);
}

function one(what: string, loop: (len: number) => number, buf: Uint8Array, len: number): Case {
  const name = `${what}, ${len} bytes`;
  const perCall = loop(len);
  let want = 0;
  for (let k = 0; k < OFFSETS; k++) want += 0xffff - internetChecksum(buf.subarray(k * 2, k * 2 + len));
  same(name, finish(perCall), finish(want));
  let seen = 0;
  return {
    suite: "checksum",
    name,
    per: OFFSETS,
    bytes: len,
    call() {
      seen += loop(len);
    },
    check: (calls) => same(name, seen, calls * perCall),
  };
}
