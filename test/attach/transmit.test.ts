import { describe, expect, it } from "vitest";
import { TransmitQueue, TX_SLAB } from "../../src/attach/transmit.ts";
import { expectFrames, frame, GuestReader } from "./recorder.ts";

function rig() {
  const writes: { bytes: Uint8Array; done: () => void }[] = [];
  const guest = new GuestReader();
  let writables = 0;
  const write = (bytes: Uint8Array, done: () => void): boolean => {
    if (kernel.takes) guest.push(Buffer.from(bytes));
    else writes.push({ bytes, done });
    return kernel.takes;
  };
  /** Whether the kernel takes writes at once. */
  const kernel = { takes: false };
  const queue = new TransmitQueue({ write }, () => writables++);
  const put = (f: Uint8Array): boolean => {
    const at = queue.reserve(f.length);
    if (at < 0) return false;
    queue.tx.set(f, at);
    queue.commit(f.length);
    return true;
  };
  /** The kernel takes the oldest write: only now are its bytes looked at. */
  const take = (): void => {
    const { bytes, done } = writes.shift()!;
    guest.push(Buffer.from(bytes));
    done();
  };
  return { queue, writes, guest, put, take, kernel, writables: () => writables };
}

describe("transmit queue", () => {
  it("writes nothing before the flush, and then all of it once", () => {
    const { queue, writes, guest, put, take } = rig();
    const frames = [frame(60), frame(1514, 1), frame(64, 2)];
    for (const f of frames) put(f);
    expect(writes).toHaveLength(0);
    queue.flush();
    expect(writes).toHaveLength(1);
    take();
    expectFrames(guest.frames, frames);
    queue.flush();
    expect(writes).toHaveLength(0);
  });

  it("does not send a frame that was reserved and not committed", () => {
    const { queue, guest, put, take } = rig();
    queue.reserve(100);
    put(frame(60));
    queue.reserve(500);
    queue.flush();
    take();
    expectFrames(guest.frames, [frame(60)]);
  });

  it("commits fewer bytes than were reserved", () => {
    const { queue, guest, take } = rig();
    const at = queue.reserve(1000);
    queue.tx.set(frame(60), at);
    queue.commit(60);
    queue.flush();
    take();
    expectFrames(guest.frames, [frame(60)]);
  });

  it("gathers what is flushed while a write is under way into the next one", () => {
    const { queue, writes, guest, put, take } = rig();
    const frames = Array.from({ length: 100 }, (_, i) => frame(60, i));
    for (const f of frames) {
      put(f);
      queue.flush();
    }
    expect(writes).toHaveLength(1);
    take();
    expect(writes).toHaveLength(1);
    take();
    expectFrames(guest.frames, frames);
    expect(queue.outstanding).toBe(0);
  });

  it("is full at two slabs, and writable once the kernel has taken the first", () => {
    const { queue, writes, guest, put, take, writables } = rig();
    const sent: Uint8Array[] = [];
    const fill = () => {
      for (let i = sent.length; ; i = sent.length) {
        const f = frame(1000 + (i % 500), i);
        if (!put(f)) return;
        sent.push(f);
      }
    };
    fill();
    queue.flush();
    expect(queue.outstanding).toBeGreaterThan(2 * TX_SLAB - 2 * 1504);
    expect(queue.outstanding).toBeLessThanOrEqual(2 * TX_SLAB);
    expect(writables()).toBe(0);
    take();
    expect(writables()).toBe(1);
    expect(queue.outstanding).toBeLessThanOrEqual(TX_SLAB);
    for (let round = 0; round < 5; round++) {
      fill();
      queue.flush();
      take();
    }
    while (writes.length > 0) take();
    expectFrames(guest.frames, sent);
    expect(writables()).toBe(6);
  });

  it("sends a batch longer than a slab, in order, all of it after the flush", () => {
    const { queue, writes, guest, put, take } = rig();
    const frames = Array.from({ length: 6 }, (_, i) => frame(65_000, i));
    for (const f of frames) expect(put(f)).toBe(true);
    expect(writes).toHaveLength(0);
    queue.flush();
    while (writes.length > 0) take();
    expectFrames(guest.frames, frames);
  });

  it("needs one slab only where the kernel takes each write at once", () => {
    const { queue, writes, guest, put, kernel } = rig();
    kernel.takes = true;
    const frames = Array.from({ length: 1_000 }, (_, i) => frame(1_000, i));
    const slabs = new Set<Uint8Array>();
    for (const f of frames) {
      expect(put(f)).toBe(true);
      slabs.add(queue.tx);
      queue.flush();
      expect(queue.outstanding).toBe(0);
    }
    expect(writes).toHaveLength(0);
    expect(slabs.size).toBe(1);
    expectFrames(guest.frames, frames);
  });

  it("tells of room in a later tick, once, when two full slabs are taken at once", async () => {
    const { queue, guest, put, kernel, writables } = rig();
    kernel.takes = true;
    const sent: Uint8Array[] = [];
    for (let f = frame(1_400); put(f); f = frame(1_400, sent.length)) sent.push(f);
    queue.flush();
    expect(queue.outstanding).toBe(0);
    expect(writables()).toBe(0);
    queue.flush();
    await new Promise(process.nextTick);
    expect(writables()).toBe(1);
    expectFrames(guest.frames, sent);
  });

  it("keeps the order where the kernel takes one write at once and not the next", () => {
    const { queue, writes, guest, put, take, kernel } = rig();
    const frames = Array.from({ length: 300 }, (_, i) => frame(60 + i, i));
    for (const [i, f] of frames.entries()) {
      put(f);
      // While a write is under way nothing else is written.
      kernel.takes = i % 3 === 0 && writes.length === 0;
      queue.flush();
      if (i % 5 === 0 && writes.length > 0) take();
    }
    while (writes.length > 0) take();
    queue.flush();
    expectFrames(guest.frames, frames);
  });

  it("delivers on close what was flushed, and nothing that was not", () => {
    const { queue, writes, guest, put, take, writables } = rig();
    put(frame(60));
    queue.flush();
    put(frame(61));
    queue.flush();
    queue.close();
    while (writes.length > 0) take();
    expectFrames(guest.frames, [frame(60), frame(61)]);
    expect(queue.reserve(60)).toBe(-1);
    expect(writables()).toBe(0);

    const unflushed = rig();
    unflushed.put(frame(60));
    unflushed.queue.close();
    expect(unflushed.writes).toHaveLength(0);
  });
});

it("a short frame is sixty bytes long on the wire, filled with zeros and not with what stood there before", () => {
  const sent: Uint8Array[] = [];
  const queue = new TransmitQueue({ write: (bytes: Uint8Array) => sent.push(bytes.slice()) > 0 }, () => {});
  const write = (len: number, value: number): void => {
    const at = queue.reserve(100);
    queue.tx.fill(0xee, at, at + 100);
    queue.tx.fill(value, at, at + len);
    queue.commit(len);
  };
  write(42, 1);
  write(60, 2);
  write(61, 3);
  queue.flush();
  const bytes = sent[0]!;
  expect([...bytes.subarray(0, 64)]).toEqual([0, 0, 0, 60, ...Array(42).fill(1), ...Array(18).fill(0)]);
  expect([...bytes.subarray(64, 68)]).toEqual([0, 0, 0, 60]);
  expect([...bytes.subarray(128, 132)]).toEqual([0, 0, 0, 61]);
  expect(bytes.length).toBe(64 + 64 + 65);
});
