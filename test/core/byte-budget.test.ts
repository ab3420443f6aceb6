/** What the networks of a process hold together. */
import { describe, expect, it } from "vitest";
import { ByteBudget, unshared } from "../../src/core/byte-budget.ts";
import { ChunkPool } from "../../src/proto/tcp/chunk-pool.ts";
import { SendBuffer } from "../../src/proto/tcp/send-buffer.ts";

const KIB = 1_024;
const MIB = 1_048_576;

describe("a budget of bytes", () => {
  it("gives the first much and many little, never more than there is, and whoever comes last something", () => {
    const budget = new ByteBudget(64 * MIB, 256);
    const greedy = Array.from({ length: 200 }, () => budget.share());
    for (const share of greedy) while (share.room >= 16 * KIB) share.note(16 * KIB);
    expect(greedy[0]!.held).toBeGreaterThan(9 * MIB);
    expect(budget.used).toBeLessThanOrEqual(64 * MIB);
    const last = budget.share();
    expect(last.room).toBe(64 * KIB);
    // Whoever has more than its part of what is left now is given no more.
    expect(greedy[0]!.room).toBeLessThan(0);
    expect(budget.exceeded).toBe(false);
  });

  it("tells when it is exceeded, and who holds most", () => {
    let told = 0;
    const budget = new ByteBudget(MIB, 0, () => told++);
    const [small, large] = [budget.share(), budget.share()];
    small.note(400 * KIB);
    large.note(624 * KIB);
    expect(told).toBe(0);
    small.note(1);
    expect(told).toBe(1);
    expect(budget.fullest()).toBe(large);
    large.close();
    expect(budget).toMatchObject({ exceeded: false, used: 400 * KIB + 1 });
    // What it still tells counts for nobody.
    large.note(-100);
    expect(budget).toMatchObject({ used: 400 * KIB + 1 });
    expect(budget.fullest()).toBe(small);
  });

  it("is without end for a network that shares with nobody", () => {
    const share = unshared();
    share.note(1e12);
    expect(share).toMatchObject({ limited: false, room: Number.POSITIVE_INFINITY });
  });

  it("counts chunks that are kept for later, until the network is at rest", () => {
    const budget = new ByteBudget(64 * MIB, 1);
    const pool = new ChunkPool({ sendBytes: 8 * MIB, outOfOrderBytes: MIB }, budget.share());
    const buffers = Array.from({ length: 100 }, () => new SendBuffer(pool.of(null)));
    for (const buffer of buffers) buffer.append(new Uint8Array(16 * KIB), 0, 16 * KIB);
    expect(budget.used).toBe(pool.used);
    for (const buffer of buffers) buffer.clear();
    expect(pool.used).toBe(0);
    expect(budget.used).toBeGreaterThan(0);
    expect(budget.used).toBeLessThanOrEqual(512 * KIB);
    pool.rest();
    expect(budget.used).toBe(0);
  });
});
