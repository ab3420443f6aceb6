import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { finish, fold, scalarSum, sum, valid } from "../../src/wire/checksum.ts";
import { simdSum } from "../../src/wire/checksum-simd.ts";

describe("the Internet checksum", () => {
  test("of RFC 1071's example is 0xddf2 before the complement", () => {
    const bytes = new Uint8Array([0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
    expect(fold(sum(bytes, 0, 8))).toBe(0xddf2);
    expect(finish(sum(bytes, 0, 8))).toBe(0x220d);
  });

  test("is the same by SIMD and without, at any offset and length, whatever lies around", () => {
    expect(simdSum).not.toBeNull();
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 200, maxLength: 4000 }), fc.nat(100), fc.nat(99), (bytes, at, less) => {
        const len = bytes.length - at - less;
        expect(fold(sum(bytes, at, len))).toBe(fold(scalarSum(bytes, at, len)));
      }),
    );
  });

  test("holds for the longest packet, all ones", () => {
    const bytes = new Uint8Array(65_536).fill(255);
    for (const len of [65_535, 65_536]) expect(fold(sum(bytes, 0, len))).toBe(fold(scalarSum(bytes, 0, len)));
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
