import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { FrameDecoder } from "../../src/attach/decoder.ts";
import { HEADROOM, SlabPool } from "../../src/attach/slab.ts";
import { type Link, MAX_FRAME, type Slab } from "../../src/core/link.ts";
import { proves } from "../cases/proves.ts";
import { Drops, expectFrames, frame, Recorder, wire } from "./recorder.ts";

const LINK = { name: "test" } as Link;

function rig(readArea?: number, cap?: number) {
  const pool = new SlabPool({
    ...(readArea === undefined ? {} : { readArea }),
    ...(cap === undefined ? {} : { cap }),
  });
  const receiver = new Recorder();
  const drops = new Drops();
  const decoder = new FrameDecoder(pool, receiver, LINK, drops);
  /** Reads as a socket would: each read fills at most the read area. */
  const feed = (bytes: Uint8Array, cuts: readonly number[] = []): boolean => {
    let sane = true;
    let from = 0;
    for (const cut of [...cuts, bytes.length]) {
      const part = bytes.subarray(from, cut);
      for (let i = 0; i < part.length; i += decoder.readArea.length) {
        const read = part.subarray(i, i + decoder.readArea.length);
        decoder.readArea.set(read);
        sane = decoder.received(read.length) && sane;
      }
      from = cut;
    }
    return sane;
  };
  return { pool, receiver, drops, decoder, feed };
}

describe("frame decoder", () => {
  it(proves("bad.any.lengths", "gives the same frames however the stream is cut"), () => {
    const lens = fc.array(fc.oneof(fc.integer({ min: 1, max: 100 }), fc.constantFrom(1460, 9000, MAX_FRAME)), {
      maxLength: 12,
    });
    fc.assert(
      fc.property(lens, fc.array(fc.nat(), { maxLength: 20 }), fc.constantFrom(4096, 65_536), (ls, at, area) => {
        const frames = ls.map((len, i) => frame(len, i));
        const bytes = wire(...frames);
        const { receiver, feed } = rig(area);
        feed(
          bytes,
          at.map((n) => n % (bytes.length + 1)).sort((a, b) => a - b),
        );
        expectFrames(receiver.frames, frames);
      }),
      { numRuns: 60 },
    );
  });

  it("gives the same frames when every byte comes alone", () => {
    const frames = [frame(1), frame(60, 1), frame(1514, 2)];
    const bytes = wire(...frames);
    const { receiver, feed } = rig();
    feed(bytes, [...bytes.keys()]);
    expectFrames(receiver.frames, frames);
  });

  it("leaves pinned slabs alone, also when the cut frame moves on", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 5, maxLength: 60 }), (lens) => {
        const frames = lens.map((len, i) => frame(len, i));
        const { receiver, feed, pool } = rig(512, 1000);
        const held: { slab: Slab; at: number; was: Uint8Array }[] = [];
        receiver.onReceive = (_, slab, at, len) => {
          // Nobody may pin the slab that all share.
          if (slab.scarce) return;
          // Two of three frames are held on to, for two frames' time or more.
          if (held.length % 3 !== 2) slab.pin();
          held.push({ slab, at, was: slab.bytes.slice(at, at + len) });
        };
        feed(wire(...frames));
        held.forEach(({ slab, at, was }, i) => {
          if (i % 3 === 2) return;
          expect(Buffer.from(slab.bytes.subarray(at, at + was.length)).equals(Buffer.from(was))).toBe(true);
          slab.unpin();
        });
        expectFrames(receiver.frames, frames);
        expect(pool.inUse).toBeLessThanOrEqual(1);
      }),
      { numRuns: 50 },
    );
  });

  it(proves("bad.any.lengths", "refuses a frame longer than any cable's, and hands over those before it"), () => {
    for (const length of [MAX_FRAME + 1, 0x7fffffff, 0x80000000, 0xffffffff]) {
      const { receiver, feed, drops, pool } = rig();
      const bad = Buffer.alloc(4);
      bad.writeUInt32BE(length);
      expect(feed(Buffer.concat([wire(frame(60)), bad, wire(frame(60))]))).toBe(false);
      expect(receiver.frames).toHaveLength(1);
      expect(receiver.batches).toBe(1);
      expect(drops.counts["frame-too-long"]).toBe(1);
      expect(pool.inUse).toBe(0);
    }
  });

  it("takes the longest frame", () => {
    const { receiver, feed } = rig(1000);
    expect(feed(wire(frame(MAX_FRAME), frame(20)))).toBe(true);
    expectFrames(receiver.frames, [frame(MAX_FRAME), frame(20)]);
  });

  it(proves("bad.any.lengths", "passes over frames of no length and counts them"), () => {
    const { receiver, feed, drops } = rig();
    expect(feed(wire(frame(0), frame(20), frame(0), frame(0), frame(21)))).toBe(true);
    expectFrames(receiver.frames, [frame(20), frame(21)]);
    expect(drops.counts["eth-short"]).toBe(3);
  });

  it("stops at once when closed in the middle of a read, and keeps the slab until the batch has ended", () => {
    const { receiver, feed, decoder, pool } = rig();
    // After a long read the cable has a slab of its own.
    feed(wire(frame(5000)));
    let inUse = -1;
    let held: Slab | null = null;
    receiver.onReceive = (_, slab) => {
      held = slab;
      decoder.close();
    };
    receiver.onBatchEnd = () => {
      inUse = pool.inUse;
      held?.pin();
    };
    feed(wire(frame(20), frame(21)));
    expect(receiver.frames).toHaveLength(2);
    expect(inUse).toBe(1);
    expect(pool.inUse).toBe(1);
    held!.unpin();
    expect(pool.inUse).toBe(0);
  });

  it("copies chunks of any size", () => {
    const { receiver, decoder } = rig(256);
    const frames = [frame(1460), frame(9, 2), frame(3000, 3)];
    decoder.copied(wire(...frames));
    expectFrames(receiver.frames, frames);
  });
});

describe("slab pool", () => {
  it("is scarce from its cap on, and no more once slabs come back", () => {
    const { receiver, feed, pool } = rig(64, 4);
    const pinned: Slab[] = [];
    receiver.onReceive = (_, slab) => {
      if (slab.scarce) return;
      slab.pin();
      pinned.push(slab);
    };
    feed(wire(...Array.from({ length: 50 }, (_, i) => frame(60, i))));
    expect(pool.inUse).toBe(4);
    expect(pool.scarce).toBe(true);
    for (const slab of pinned) slab.unpin();
    expect(pool.inUse).toBe(1);
    expect(pool.scarce).toBe(false);
  });

  it("does not lend out a slab that is still read into, when its last pin goes", () => {
    const { receiver, feed, pool } = rig();
    feed(wire(frame(5000)));
    receiver.onReceive = (_, slab) => {
      slab.pin();
      slab.unpin();
    };
    feed(wire(frame(5000), frame(61)));
    expect(pool.free).toBe(0);
    expect(pool.inUse).toBe(1);
  });

  it("a cable that says little holds no slab, but for a cut frame", () => {
    const { receiver, feed, pool, decoder } = rig();
    const area = decoder.readArea;
    receiver.onReceive = (_, slab) => expect(slab.scarce).toBe(pool.inUse === 0);
    for (let i = 0; i < 100; i++) {
      feed(wire(frame(1000, i), frame(60)).subarray(0, 500));
      expect(pool.inUse).toBe(1);
      feed(wire(frame(1000, i), frame(60)).subarray(500));
      expect([pool.inUse, pool.free]).toEqual([0, 1]);
      feed(wire(frame(60)));
    }
    expect(receiver.frames).toHaveLength(300);
    expect(decoder.readArea).toBe(area);
  });

  it("cables that say little read into one slab, and hear each only their own", () => {
    const rigs = [rig(), rig(), rig()];
    expect(new Set(rigs.map(({ decoder }) => decoder.readArea)).size).toBe(1);
    for (const [i, { feed }] of rigs.entries()) feed(wire(frame(100 + i, i)).subarray(0, 50 + i));
    for (const [i, { feed }] of rigs.entries()) feed(wire(frame(100 + i, i)).subarray(50 + i));
    for (const [i, { receiver }] of rigs.entries()) expectFrames(receiver.frames, [frame(100 + i, i)]);
  });

  it("uses one slab for long reads, for as long as nothing is pinned", () => {
    const { feed, pool, decoder } = rig();
    feed(wire(frame(5000)));
    const area = decoder.readArea;
    for (let i = 0; i < 100; i++) feed(wire(frame(9000, i)), [4500]);
    expect(decoder.readArea).toBe(area);
    expect(pool.inUse + pool.free).toBe(1);
    expect(area.byteOffset - HEADROOM).toBeGreaterThanOrEqual(0);
  });

  it("shrinks after a burst, and keeps what is still needed", () => {
    vi.useFakeTimers();
    try {
      const pool = new SlabPool({ readArea: 16 });
      const burst = Array.from({ length: 20 }, () => pool.take());
      for (const slab of burst) slab.release();
      expect(pool.free).toBe(20);
      // Two at a time are needed throughout the interval.
      for (let i = 0; i < 20; i++) {
        const two = [pool.take(), pool.take()];
        for (const slab of two) slab.release();
        vi.advanceTimersByTime(100);
      }
      expect(pool.free).toBe(2);
      vi.advanceTimersByTime(5_000);
      expect(pool.free).toBe(0);
      expect(vi.getTimerCount()).toBe(0);
    } finally {
      vi.useRealTimers();
    }
  });

  it("says so when a slab is unpinned too often", () => {
    expect(() => new SlabPool().take().unpin()).toThrow(/unpinned/);
  });
});
