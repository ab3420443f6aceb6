import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Assembler, HeldBytes } from "../../../src/proto/tcp/assembler.ts";
import { CHUNK, ChunkPool } from "../../../src/proto/tcp/chunk-pool.ts";
import { Scoreboard } from "../../../src/proto/tcp/scoreboard.ts";
import { SendBuffer } from "../../../src/proto/tcp/send-buffer.ts";
import type { TcpPath } from "../../../src/proto/tcp/types.ts";
import { baseOf, giveBack, region } from "../../../src/wire/arena.ts";
import { fold, scalarSum } from "../../../src/wire/checksum.ts";

const STREAM = new Uint8Array(4096).map((_, i) => (i * 7 + (i >> 8)) & 255);
const piece = fc.record({ at: fc.nat(2000), len: fc.integer({ min: 1, max: 300 }) });

describe("the assembler", () => {
  test("gives back exactly what came, whatever the order and the overlaps", () => {
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 60 }), fc.integer(), (pieces, base) => {
        const assembler = new Assembler(new HeldBytes(1 << 20));
        const have = new Uint8Array(STREAM.length);
        for (const { at, len } of pieces) {
          assembler.insert((base + at) | 0, STREAM, at, len);
          have.fill(1, at, at + len);
        }
        let next = 0;
        while (next < STREAM.length) {
          if (have[next] === 0) {
            expect(assembler.take((base + next) | 0)).toBeNull();
            next++;
            continue;
          }
          const bytes = assembler.take((base + next) | 0)!;
          expect([...bytes]).toEqual([...STREAM.subarray(next, next + bytes.length)]);
          next += bytes.length;
        }
        expect(assembler.empty).toBe(true);
      }),
    );
  });

  test("SACK blocks name the latest first (RFC 2018 section 4)", () => {
    const assembler = new Assembler(new HeldBytes(1 << 20));
    const edges = new Int32Array(8);
    assembler.insert(300, STREAM, 0, 100);
    assembler.insert(100, STREAM, 0, 50);
    assembler.insert(500, STREAM, 0, 10);
    assembler.insert(150, STREAM, 0, 50);
    expect(assembler.blocks(edges, 3)).toBe(3);
    expect([...edges.subarray(0, 6)]).toEqual([100, 200, 300, 400, 500, 510]);
  });

  test("holds no more segments and bytes than allowed (CVE-2018-5390)", () => {
    const kept = (bytes: number): number => {
      const assembler = new Assembler(new HeldBytes(bytes));
      for (let i = 0; i < 100_000; i++) assembler.insert(2 * i, STREAM, 0, 1);
      expect(assembler.blocks(new Int32Array(8), 3)).toBe(3);
      let count = 0;
      for (let i = 0; i < 100_000; i++) if (assembler.take(2 * i) !== null) count++;
      return count;
    };
    expect(kept(1_000_000)).toBe(256);
    // A piece of one byte costs 257 bytes of memory.
    expect(kept(1000)).toBe(3);
  });
});

describe("the scoreboard", () => {
  test("counts what was reported, once, and finds the holes", () => {
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 60 }), fc.nat(500), (pieces, una) => {
        const board = new Scoreboard();
        const have = new Uint8Array(3000);
        for (const { at, len } of pieces) {
          board.add(at, at + len, 0, 3000);
          have.fill(1, at, at + len);
        }
        board.advance(una);
        have.fill(0, 0, una);
        expect(board.sacked).toBe(have.reduce((a, b) => a + b, 0));
        for (let i = una; i < 2500; i += 17) {
          let hole = i;
          while (have[hole] === 1) hole++;
          expect(board.nextHole(i)).toBe(hole);
        }
      }),
    );
  });

  test("believes nothing beyond what was sent, nor an empty or reversed block", () => {
    const board = new Scoreboard();
    expect(board.add(100, 3001, 0, 3000)).toBe(false);
    expect(board.add(-1, 50, 0, 3000)).toBe(false);
    expect(board.add(50, 50, 0, 3000)).toBe(false);
    expect(board.add(60, 50, 0, 3000)).toBe(false);
    expect(board.empty).toBe(true);
  });
});

/** Puts the source's first `n` bytes into room for more of them. */
function land(buffer: SendBuffer, source: Uint8Array, n: number): void {
  expect(buffer.lands).toBe(true);
  const room = buffer.land(n + 1000);
  expect(room.len).toBeGreaterThanOrEqual(n + 1000);
  let { at } = room;
  let done = 0;
  for (const chunk of room.chunks.slice(room.first)) {
    const part = source.subarray(done, Math.min(n, done + chunk.length - at));
    chunk.set(part, at);
    done += part.length;
    at = 0;
  }
  buffer.landed(n);
}

test("the send buffer is a queue of bytes that gives its chunks back", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.constantFrom("append", "land", "consume"), fc.nat(40_000)), { maxLength: 40 }),
      (ops) => {
        const pool = new ChunkPool({ sendBytes: 1 << 26 });
        const buffer = new SendBuffer(pool.of(null));
        const source = new Uint8Array(40_000).map((_, i) => (i * 31) & 255);
        let model = new Uint8Array(0);
        for (const [op, n] of ops) {
          if (op !== "consume") {
            if (op === "append") buffer.append(source, 0, n);
            else land(buffer, source, n);
            const grown = new Uint8Array(model.length + n);
            grown.set(model);
            grown.set(source.subarray(0, n), model.length);
            model = grown;
          } else {
            const less = Math.min(n, model.length);
            buffer.consume(less);
            model = model.slice(less);
          }
          expect(buffer.length).toBe(model.length);
          const out = new Uint8Array(model.length);
          buffer.copyOut(0, model.length, out, 0);
          expect(Buffer.compare(out, model)).toBe(0);
          expect(pool.used).toBeLessThanOrEqual((Math.ceil(model.length / CHUNK) + 1) * CHUNK);
        }
        buffer.clear();
        expect(pool.used).toBe(0);
      },
    ),
    { numRuns: 50 },
  );
});

test("no bytes land while memory is scarce, or between small chunks", () => {
  const pool = new ChunkPool({ sendBytes: 8 * CHUNK });
  const [early, late] = [new SendBuffer(pool.of(null)), new SendBuffer(pool.of(null))];
  early.append(new Uint8Array(10), 0, 10);
  const held = [pool.take(14), pool.take(14)];
  expect([early.lands, late.lands]).toEqual([false, false]);
  late.append(new Uint8Array(10), 0, 10);
  for (const chunk of held) pool.give(chunk);
  expect([early.lands, late.lands]).toEqual([true, false]);
});

test("room for bytes that do not come is given back at once, and makes no chunk that is freed again", () => {
  const pool = new ChunkPool({ sendBytes: 1 << 26 });
  const buffer = new SendBuffer(pool.of(null));
  for (let i = 0; i < 3; i++) {
    expect(buffer.land(1 << 24).len).toBe(16 * CHUNK);
    buffer.landed(0);
    expect([pool.used, buffer.length]).toEqual([0, 0]);
  }
});

test("what the send buffer copies out comes with its sum, wherever it begins and however many chunks it lies in", () => {
  const source = new Uint8Array(4 * CHUNK).map((_, i) => (i * 31) ^ (i >> 7));
  const pool = new ChunkPool({ sendBytes: 1 << 26 });
  const place = region(source.length);
  const nat = fc.nat(CHUNK + 3);
  fc.assert(
    fc.property(nat, nat, fc.integer({ min: 1, max: 2 * CHUNK }), fc.boolean(), (start, offset, len, inArena) => {
      const buffer = new SendBuffer(pool.of(null));
      buffer.append(source, 0, source.length);
      buffer.consume(start);
      const out = inArena ? place : new Uint8Array(source.length);
      const n = Math.min(len, buffer.length - offset);
      const total = buffer.copyOut(offset, n, out, 1);
      expect(Buffer.compare(out.subarray(1, 1 + n), source.subarray(start + offset, start + offset + n))).toBe(0);
      expect(fold(total)).toBe(fold(scalarSum(source, start + offset, n)));
      buffer.clear();
    }),
  );
  giveBack(place);
});

test("what stands in small chunks is copied out whole, with its sum or without", () => {
  const source = new Uint8Array(6000).map((_, i) => (i * 31) ^ (i >> 7));
  const pool = new ChunkPool({ sendBytes: 4 * CHUNK });
  // Scarce from here on.
  for (let i = 0; i < 2; i++) pool.take(14);
  const buffer = new SendBuffer(pool.of(null));
  buffer.append(source, 0, source.length);
  const [summed, plain] = [new Uint8Array(4000), new Uint8Array(4000)];
  buffer.copyOut(1000, 4000, summed, 0);
  buffer.gather(1000, 4000, { tx: plain } as TcpPath, 0);
  for (const out of [summed, plain]) expect(Buffer.compare(out, source.subarray(1000, 5000))).toBe(0);
});

test("a closed pool gives its chunks back to the arena, also those that come later", () => {
  const pool = new ChunkPool({ sendBytes: 1 << 26 });
  const [early, late] = [pool.take(14), pool.take(14)];
  expect(Math.min(baseOf(early), baseOf(late))).toBeGreaterThan(0);
  pool.give(early);
  expect(baseOf(early)).toBeGreaterThan(0);
  pool.close();
  expect(baseOf(early)).toBe(-1);
  pool.give(late);
  expect(baseOf(late)).toBe(-1);
  expect(pool.used).toBe(0);
});
