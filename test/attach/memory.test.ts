import { describe, expect, it } from "vitest";
import { type CableOptions, cable } from "../../src/attach/memory.ts";
import { SlabPool } from "../../src/attach/slab.ts";
import type { Slab } from "../../src/core/link.ts";
import { MAX_FRAME } from "../../src/core/link.ts";
import { Drops, expectFrames, frame, Recorder, transmit } from "./recorder.ts";

/** A cable into a network that records, and what the guest has got. */
function rig(options: CableOptions = {}) {
  const receiver = new Recorder();
  const got: Uint8Array[] = [];
  const drops = new Drops();
  const guest = cable(receiver, { trace: drops, onFrame: (f) => got.push(f), ...options });
  return { receiver, guest, got, drops };
}

describe("an in-process cable", () => {
  it("carries frames there and back before send returns", () => {
    const { receiver, guest, got } = rig({ name: "vm" });
    receiver.onReceive = (link, slab, at, len) => {
      const o = link.reserve(len);
      link.tx.set(slab.bytes.subarray(at, at + len), o);
      link.commit(len);
    };
    receiver.onBatchEnd = (link) => link.flush();
    const frames = [frame(1), frame(60, 1), frame(MAX_FRAME, 2)];
    for (const f of frames) guest.send(f);
    expectFrames(receiver.frames, frames);
    expectFrames(got, frames);
    expect(receiver.batches).toBe(3);
    expect(guest.link.name).toBe("vm");
    expect(receiver.links).toEqual([guest.link]);
  });

  it("makes one batch of several frames", () => {
    const { receiver, guest } = rig();
    guest.send(frame(60), frame(61), frame(62));
    expect(receiver.frames).toHaveLength(3);
    expect(receiver.batches).toBe(1);
  });

  it("makes more batches of more than a slab holds", () => {
    const { receiver, guest } = rig();
    const frames = Array.from({ length: 10 }, (_, i) => frame(60_000, i));
    guest.send(...frames);
    expectFrames(receiver.frames, frames);
    expect(receiver.batches).toBe(3);
  });

  it("hands out frames that stay as they are", () => {
    const { guest, got } = rig();
    const frames = Array.from({ length: 300 }, (_, i) => frame(1000, i));
    for (const f of frames) transmit(guest.link, f);
    expectFrames(got, frames);
  });

  it("leaves pinned bytes alone", () => {
    const pool = new SlabPool();
    const { receiver, guest } = rig({ pool });
    const held: { slab: Slab; at: number; was: Uint8Array }[] = [];
    receiver.onReceive = (_, slab, at, len) => {
      slab.pin();
      held.push({ slab, at, was: slab.bytes.slice(at, at + len) });
    };
    for (let i = 0; i < 5; i++) guest.send(frame(500, i), frame(70, i));
    for (const { slab, at, was } of held) {
      expectFrames([slab.bytes.subarray(at, at + was.length)], [was]);
      slab.unpin();
    }
    expect(pool.inUse).toBe(1);
  });

  it("takes up what onFrame sends when the network has returned", () => {
    const { receiver, guest } = rig();
    let depth = 0;
    receiver.onBatchEnd = (link) => {
      depth++;
      expect(depth).toBe(1);
      const last = receiver.frames.at(-1)!;
      if (last.length < 70) transmit(link, last);
      depth--;
    };
    guest.onFrame = (f) => guest.send(frame(f.length + 1));
    guest.send(frame(60));
    expect(receiver.frames.map((f) => f.length)).toEqual([60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70]);
  });

  it("takes it up soon when the network spoke first", async () => {
    const { receiver, guest } = rig();
    guest.onFrame = () => guest.send(frame(61));
    transmit(guest.link, frame(60));
    expect(receiver.frames).toHaveLength(0);
    await receiver.until(() => receiver.frames.length === 1);
  });

  it("lets the event loop run while both ends answer each other for ever", async () => {
    const { receiver, guest } = rig();
    receiver.keep = false;
    receiver.onBatchEnd = (link) => transmit(link, frame(60));
    guest.onFrame = () => guest.send(frame(60));
    guest.send(frame(60));
    for (let i = 0; i < 5; i++) await new Promise(setImmediate);
    guest.close();
    const { batches } = receiver;
    await new Promise(setImmediate);
    expect(receiver.batches).toBe(batches);
  });

  it("bounds what waits", () => {
    const { receiver, guest, drops } = rig();
    receiver.onBatchEnd = (link) => {
      if (receiver.batches === 1) transmit(link, frame(60));
    };
    guest.onFrame = () => {
      for (let i = 0; i < 5000; i++) guest.send(frame(60));
    };
    guest.send(frame(60));
    expect(drops.counts["cable-full"]).toBe(5000 - 4096);
    expect(receiver.frames).toHaveLength(1 + 4096);
  });

  it("is full while stalled, and writable after", () => {
    const { receiver, guest, got } = rig();
    guest.stall(true);
    expect(transmit(guest.link, frame(60))).toBe(false);
    guest.stall(false);
    expect(receiver.writables).toBe(1);
    expect(transmit(guest.link, frame(60))).toBe(true);
    expect(got).toHaveLength(1);
    guest.stall(true);
    guest.stall(false);
    expect(receiver.writables).toBe(1);
  });

  it("refuses frames that no cable carries", () => {
    const { receiver, guest, drops } = rig();
    guest.send(frame(0), frame(MAX_FRAME + 1), frame(14));
    expect(receiver.frames).toHaveLength(1);
    expect(drops.counts["eth-short"]).toBe(1);
    expect(drops.counts["frame-too-long"]).toBe(1);
  });

  it("is quiet once closed, from either end and even in the middle of a batch", async () => {
    const pool = new SlabPool();
    const { receiver, guest, got } = rig({ pool });
    receiver.onReceive = (link) => link.close();
    guest.send(frame(60), frame(61));
    expect(receiver.frames).toHaveLength(1);
    await receiver.until(() => receiver.gone.length === 1);
    guest.send(frame(62));
    expect(transmit(guest.link, frame(60))).toBe(false);
    guest.close();
    expect(receiver.frames).toHaveLength(1);
    expect(receiver.gone).toEqual([guest.link]);
    expect(got).toHaveLength(0);
    expect(pool.inUse).toBe(0);
  });
});
