import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { LanGuard, NO_ADDRESSES } from "../../src/attach/guard.ts";
import { Impairment, type ImpairmentRule } from "../../src/attach/impairment.ts";
import { cable } from "../../src/attach/memory.ts";
import { Switch } from "../../src/attach/switch.ts";
import { CableTap } from "../../src/attach/tap.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { Drops, Recorder, transmit } from "./recorder.ts";

const GATEWAY = Uint8Array.from([0x52, 0x55, 10, 0, 2, 2]);
const CLEAN: ImpairmentRule = {
  ...{ filter: null, direction: "both", delay: 0, jitter: 0, loss: 0, duplicate: 0, reorder: 0 },
  rate: Number.POSITIVE_INFINITY,
};

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function rig(rules: readonly Partial<ImpairmentRule>[], seed = 1) {
  const inner = new Recorder();
  const trace = new Drops();
  const tap = new CableTap();
  const clock = { now: () => performance.now() };
  const lan = new Switch({
    inner,
    clock,
    trace,
    gatewayMacs: [GATEWAY],
    guard: new LanGuard(NO_ADDRESSES),
    tap,
  });
  const impairment = new Impairment(
    rules.map((rule) => ({ ...CLEAN, ...rule })),
    { target: lan, clock, trace, random: new SeededRandom(seed) },
  );
  tap.impair(impairment);
  const toGuest: Uint8Array[] = [];
  const guest = cable(lan, { tap, onFrame: (frame) => toGuest.push(frame) });
  return { inner, trace, impairment, guest, toGuest, tap };
}

/** A frame for the gateway, of `len` bytes, marked with a number. */
function frame(mark: number, len = 60): Uint8Array {
  const bytes = new Uint8Array(len);
  bytes.set(GATEWAY);
  bytes.set([0x52, 0x54, 0, 0, 0, 1], 6);
  bytes[14] = mark;
  return bytes;
}
const marks = (frames: readonly Uint8Array[]): number[] => frames.map((f) => f[14]!);

describe("an impaired cable", () => {
  test("delays each way by as much as its rule says", () => {
    const { inner, guest, toGuest } = rig([{ delay: 50 }]);
    guest.send(frame(1));
    transmit(guest.link, frame(2));
    vi.advanceTimersByTime(49);
    expect([inner.frames.length, toGuest.length]).toEqual([0, 0]);
    vi.advanceTimersByTime(2);
    expect([marks(inner.frames), marks(toGuest)]).toEqual([[1], [2]]);
  });

  test("in one direction leaves the other alone", () => {
    const { inner, guest, toGuest } = rig([{ direction: "down", delay: 50 }]);
    guest.send(frame(1));
    transmit(guest.link, frame(2));
    expect([inner.frames.length, toGuest.length]).toEqual([1, 0]);
  });

  test("loses the share that it is told, counts it, and loses the same for the same seed", () => {
    const lost = [7, 7, 8].map((seed) => {
      const { inner, guest, trace } = rig([{ loss: 0.25 }], seed);
      for (let i = 0; i < 1000; i++) guest.send(frame(i & 255));
      expect(trace.counts.impaired + inner.frames.length).toBe(1000);
      return marks(inner.frames).join();
    });
    expect(lost[0]).toBe(lost[1]);
    expect(lost[0]).not.toBe(lost[2]);
    const arrived = lost[0]!.split(",").length;
    expect(arrived).toBeGreaterThan(700);
    expect(arrived).toBeLessThan(800);
  });

  test("sends every frame twice when all are duplicated", () => {
    const { inner, guest } = rig([{ duplicate: 1 }]);
    guest.send(frame(1));
    vi.advanceTimersByTime(1);
    expect(marks(inner.frames)).toEqual([1, 1]);
  });

  test("lets reordered frames overtake those delayed", () => {
    const { inner, guest } = rig([{ delay: 10, reorder: 0.3 }]);
    for (let i = 0; i < 50; i++) guest.send(frame(i));
    vi.advanceTimersByTime(20);
    expect(inner.frames.length).toBe(50);
    expect(marks(inner.frames)).not.toEqual(Array.from({ length: 50 }, (_, i) => i));
  });

  test("keeps the order of frames that are all delayed alike", () => {
    const { inner, guest } = rig([{ delay: 10 }]);
    for (let i = 0; i < 200; i++) guest.send(frame(i));
    vi.advanceTimersByTime(20);
    expect(marks(inner.frames)).toEqual(Array.from({ length: 200 }, (_, i) => i));
  });

  test("carries no more than its rate", () => {
    const { inner, guest } = rig([{ rate: 8000 * 1000 }]);
    for (let i = 0; i < 100; i++) guest.send(frame(i, 1000));
    vi.advanceTimersByTime(50);
    expect(inner.frames.length).toBeGreaterThanOrEqual(49);
    expect(inner.frames.length).toBeLessThanOrEqual(51);
  });

  test("queues a bounded number of bytes and counts what is beyond", () => {
    const { trace, guest, impairment } = rig([{ rate: 8000 }]);
    for (let i = 0; i < 6000; i++) guest.send(frame(i & 255, 1000));
    expect(trace.counts["impaired-queue"]).toBe(6000 - Math.floor((4 * 1_048_576) / 1000));
    guest.close();
    expect(impairment.size).toBe(0);
    impairment.close();
  });

  test("asks the first rule that means a frame", () => {
    const filter = (buf: Uint8Array, at: number) => buf[at + 14] === 1;
    const { inner, guest } = rig([{ filter, loss: 1 }, { delay: 10 }]);
    guest.send(frame(1), frame(2));
    vi.advanceTimersByTime(20);
    expect(marks(inner.frames)).toEqual([2]);
  });

  test("what the network answers to a frame that was held up is held up, too", () => {
    const { inner, guest, toGuest } = rig([{ delay: 10 }]);
    inner.onReceive = (link) => transmit(link, frame(9));
    guest.send(frame(1));
    vi.advanceTimersByTime(11);
    expect([inner.frames.length, toGuest.length]).toEqual([1, 0]);
    vi.advanceTimersByTime(10);
    expect(marks(toGuest)).toEqual([9]);
  });

  test("made good again lets go of what it held", () => {
    const { inner, guest, impairment, tap } = rig([{ delay: 1000 }]);
    guest.send(frame(1));
    tap.impair(null);
    impairment.close();
    expect(marks(inner.frames)).toEqual([1]);
    expect([tap.active, vi.getTimerCount()]).toEqual([false, 0]);
  });
});
