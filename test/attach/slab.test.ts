import { describe, expect, it, vi } from "vitest";
import { SlabPool } from "../../src/attach/slab.ts";
import { baseOf } from "../../src/wire/arena.ts";

describe("slab pool", () => {
  it("gives memory back to the arena only when nobody has had it for a second", () => {
    vi.useFakeTimers();
    try {
      const pool = new SlabPool({ readArea: 16 });
      const [resting, busy] = [pool.take(), pool.take()];
      expect(Math.min(baseOf(resting.bytes), baseOf(busy.bytes))).toBeGreaterThan(0);
      resting.release();
      vi.advanceTimersByTime(500);
      busy.release();
      for (let i = 0; i < 8; i++) {
        vi.advanceTimersByTime(100);
        const again = pool.take();
        expect(again).toBe(busy);
        again.release();
      }
      expect(baseOf(resting.bytes)).toBe(-1);
      expect(baseOf(busy.bytes)).toBeGreaterThan(0);
      vi.advanceTimersByTime(5_000);
      expect(baseOf(busy.bytes)).toBe(-1);
    } finally {
      vi.useRealTimers();
    }
  });
});
