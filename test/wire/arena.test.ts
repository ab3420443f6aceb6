import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { baseOf, giveBack, region } from "../../src/wire/arena.ts";

const UNIT = 16_384;
const ZEROS: Uint8Array = new Uint8Array(400_000);

function overlap(a: Uint8Array, b: Uint8Array): boolean {
  if (a.buffer !== b.buffer) return false;
  return a.byteOffset < b.byteOffset + b.length && b.byteOffset < a.byteOffset + a.length;
}

describe("the arena", () => {
  test("never has two regions in one place, and each comes all zero", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.boolean(), fc.nat(400_000)), { maxLength: 60 }), (ops) => {
        const out: Uint8Array[] = [];
        for (const [take, n] of ops) {
          if (!take && out.length > 0) giveBack(out.splice(n % out.length, 1)[0]!);
          else {
            const bytes = region(n);
            expect(bytes.length).toBe(n);
            expect(Buffer.compare(bytes, ZEROS.subarray(0, n))).toBe(0);
            for (const other of out) expect(overlap(bytes, other)).toBe(false);
            bytes.fill(0x5a);
            out.push(bytes);
          }
        }
        for (const bytes of out) giveBack(bytes);
      }),
      { numRuns: 30 },
    );
  });

  test("takes the lowest room that fits, so what was given back is used first", () => {
    const [a, b, c] = [region(UNIT), region(3 * UNIT), region(UNIT)];
    const at = baseOf(b);
    giveBack(b);
    const [small, large] = [region(2 * UNIT), region(2 * UNIT)];
    expect(baseOf(small)).toBe(at);
    expect(baseOf(large)).toBeGreaterThan(baseOf(c));
    for (const bytes of [a, c, small, large]) giveBack(bytes);
  });

  test("hands out ordinary arrays when it is used up, and regions again when there are some", () => {
    const out: Uint8Array[] = [];
    for (let bytes = region(1 << 20); baseOf(bytes) >= 0; bytes = region(1 << 20)) out.push(bytes);
    expect(out.length).toBeGreaterThan(16);
    const plain = region(1 << 20);
    expect(baseOf(plain)).toBe(-1);
    expect(plain.length).toBe(1 << 20);
    giveBack(plain);
    giveBack(out.pop()!);
    const again = region(1 << 20);
    expect(baseOf(again)).toBeGreaterThan(0);
    for (const bytes of [...out, again]) giveBack(bytes);
  });

  test("takes a region back once only: its next owner keeps it", () => {
    const first = region(100);
    giveBack(first);
    const second = region(100);
    expect(baseOf(second)).toBe(second.byteOffset);
    giveBack(first);
    const third = region(100);
    expect(overlap(second, third)).toBe(false);
    expect(baseOf(first)).toBe(-1);
    for (const bytes of [second, third]) giveBack(bytes);
  });
});
