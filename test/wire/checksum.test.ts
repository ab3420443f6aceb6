import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { baseOf, region } from "../../src/wire/arena.ts";
import { copySum, finish, fold, scalarSum, sum, valid } from "../../src/wire/checksum.ts";
import { simd } from "../../src/wire/checksum-simd.ts";

/** The same bytes as a region of the arena, the noise around them included. */
function inArena(bytes: Uint8Array): Uint8Array {
  const copy = region(bytes.length);
  expect(baseOf(copy)).toBeGreaterThan(0);
  copy.set(bytes);
  return copy;
}

describe("the Internet checksum", () => {
  test("of RFC 1071's example is 0xddf2 before the complement", () => {
    const bytes = new Uint8Array([0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
    expect(fold(sum(bytes, 0, 8))).toBe(0xddf2);
    expect(finish(sum(bytes, 0, 8))).toBe(0x220d);
  });

  test("is the same by SIMD and without, at any offset and length, whatever lies around", () => {
    expect(simd).not.toBeNull();
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 200, maxLength: 4000 }), fc.nat(100), fc.nat(99), (bytes, at, less) => {
        const len = bytes.length - at - less;
        expect(fold(sum(bytes, at, len))).toBe(fold(scalarSum(bytes, at, len)));
      }),
    );
  });

  test("is the same in the arena as outside, at any offset and length", () => {
    const noise = Uint8Array.from({ length: 700 }, (_, i) => (i * 167) ^ (i >> 3));
    const place = inArena(noise);
    for (let len = 0; len < 600; len++)
      for (let at = 0; at < 17; at++)
        if (fold(sum(place, at, len)) !== fold(scalarSum(noise, at, len))) expect.fail(`${len} bytes at ${at}`);
  });

  test("of more bytes than the array has counts nothing behind it, as outside the arena", () => {
    const noise = Uint8Array.from({ length: 20_000 }, (_, i) => i * 7);
    const place = inArena(noise);
    const behind = inArena(noise);
    expect(baseOf(behind)).toBeGreaterThan(baseOf(place));
    expect(fold(sum(place, 19_000, 30_000))).toBe(fold(sum(noise, 19_000, 30_000)));
  });

  test("holds for the longest packet, all ones", () => {
    const bytes = new Uint8Array(65_536).fill(255);
    const place = inArena(bytes);
    for (const len of [65_535, 65_536]) {
      expect(fold(sum(bytes, 0, len))).toBe(fold(scalarSum(bytes, 0, len)));
      expect(fold(sum(place, 0, len))).toBe(fold(scalarSum(bytes, 0, len)));
    }
  });

  test("taken while copying is that of the bytes, and nothing else is written", () => {
    const noise = Uint8Array.from({ length: 5_000 }, (_, i) => (i * 211) ^ (i >> 5));
    const place = inArena(noise);
    const target = region(5_000);
    const plain = new Uint8Array(5_000);
    fc.assert(
      fc.property(fc.nat(4_000), fc.nat(900), fc.nat(4_000), fc.nat(900), fc.boolean(), fc.boolean(), (...drawn) => {
        const [len, at, less, to, from, into] = drawn;
        const n = Math.max(0, len - less);
        const out = into ? target : plain;
        out.fill(0xa5);
        const want = new Uint8Array(out.length).fill(0xa5);
        want.set(noise.subarray(at, at + n), to);
        expect(fold(copySum(from ? place : noise, at, n, out, to))).toBe(fold(scalarSum(noise, at, n)));
        expect(Buffer.compare(out, want)).toBe(0);
      }),
    );
  });

  test("taken while copying never leaves the two arrays", () => {
    const place = inArena(new Uint8Array(100).fill(1));
    const target = region(100);
    const behind = region(100);
    expect(baseOf(behind)).toBeGreaterThan(baseOf(target));
    for (const [at, len, to] of [
      [0, 100, 1],
      [0, 20_000, 0],
      [0, 10, 100],
      [0, 10, -1],
    ] as const)
      expect(() => copySum(place, at, len, target, to === 0 ? 95 : to)).toThrow(RangeError);
    expect(behind.every((byte) => byte === 0)).toBe(true);
  });

  test("put into its field makes the whole valid", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 4, maxLength: 3000 }), (bytes) => {
        bytes[2] = 0;
        bytes[3] = 0;
        const c = finish(sum(bytes, 0, bytes.length));
        bytes[2] = c >> 8;
        bytes[3] = c & 255;
        expect(valid(sum(bytes, 0, bytes.length))).toBe(true);
      }),
    );
  });
});
