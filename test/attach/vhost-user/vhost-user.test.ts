/** A cable over shared memory, as a front end and the driver behind it see it. */
import { describe, expect, it } from "vitest";
import * as m from "../../../src/attach/vhost-user/messages.ts";
import { MAX_FRAME } from "../../../src/core/link.ts";
import { type FrontEnd, INDIRECT, RECEIVE, SEND, WRITE } from "../../support/vhost-user/front-end.ts";
import { expectFrames, frame, transmit } from "../recorder.ts";
import { guestMappings, vhostRig } from "./rig.ts";

/** What a driver takes that knows neither of these. */
const without = (...bits: readonly number[]): bigint => bits.reduce((all, bit) => all & ~(1n << BigInt(bit)), ~0n);
const MRG = 15;
const INDIRECT_DESC = 28;
const EVENT_IDX = 29;
const VERSION_1 = 32;

/** Sends frames, and waits until they have arrived and the descriptors are the driver's again. */
async function send(end: FrontEnd, frames: readonly Uint8Array[], lengths: readonly number[] = []): Promise<void> {
  frames.forEach((each, i) => void end.offerFrame(each, lengths, 4 * i));
  end.kick(SEND);
  await end.until(() => (end.rings[SEND].usedIndex === end.rings[SEND].avail ? true : null), "used descriptors");
}

describe("a guest's frames", () => {
  it.each([
    ["all features", ~0n],
    ["no event index", without(EVENT_IDX)],
    ["no mergeable buffers", without(MRG)],
    ["a legacy driver", without(MRG, EVENT_IDX, INDIRECT_DESC, VERSION_1)],
  ])("arrive and go out as they are (%s)", async (_, features) => {
    const rig = await vhostRig();
    const end = await rig.start({ features, buffer: 2048, memory: 8 << 20 });
    expect(rig.recorder.links).toHaveLength(1);
    const frames = [60, 14, 1514, 300].map((len, i) => frame(len, i));
    await send(end, frames);
    expectFrames(rig.recorder.frames, frames);
    for (const each of frames) expect(transmit(rig.recorder.links[0]!, each)).toBe(true);
    for (const each of frames) expectFrames([end.takeFrame()!.frame], [each]);
    expect(end.takeFrame()).toBeNull();
    expect(end.calls(RECEIVE)).toBeGreaterThan(0);
  });

  it("may lie in any number of descriptors, cut anywhere", async () => {
    const rig = await vhostRig();
    const end = await rig.start();
    for (const lengths of [[12], [1, 1, 10], [5, 20], [12, 54, 100, 7]]) {
      rig.recorder.frames.length = 0;
      await send(end, [frame(900, 7)], lengths);
      expectFrames(rig.recorder.frames, [frame(900, 7)]);
    }
  });

  it("may lie in a table of indirect descriptors", async () => {
    const rig = await vhostRig();
    const end = await rig.start();
    const one = frame(400, 3);
    const table = end.free + 65_536;
    end.bytes.fill(0, end.free, end.free + 12);
    end.bytes.set(one, end.free + 12);
    const ring = end.rings[SEND];
    ring.describe(0, { at: end.free, len: 40, flags: 1, next: 1 }, table);
    ring.describe(1, { at: end.free + 40, len: 372 }, table);
    ring.describe(9, { at: table, len: 32, flags: INDIRECT });
    ring.offer(9);
    end.kick(SEND);
    await rig.recorder.until(() => rig.recorder.frames.length > 0);
    expectFrames(rig.recorder.frames, [one]);
    expect(await end.until(() => ring.take(), "a used descriptor")).toEqual({ id: 9, len: 0 });
  });

  it("come in batches: one end of batch for what waits, and no kick is asked for meanwhile", async () => {
    const rig = await vhostRig();
    const end = await rig.start();
    const before = rig.recorder.batches;
    await send(
      end,
      Array.from({ length: 16 }, (_, i) => frame(100, i)),
    );
    expect(rig.recorder.frames).toHaveLength(16);
    expect(rig.recorder.batches - before).toBe(1);
    // When it has become quiet the next one is asked for.
    await end.until(() => (end.rings[SEND].availEvent === 16 ? true : null), "a wish to be told");
  });

  it("are copied: what the guest writes afterwards changes nothing, and a pinned slab stays", async () => {
    const rig = await vhostRig();
    const end = await rig.start();
    const kept: (() => Uint8Array)[] = [];
    rig.recorder.onReceive = (_, slab, at, len) => {
      slab.pin();
      kept.push(() => slab.bytes.slice(at, at + len));
    };
    for (let i = 0; i < 3; i++) {
      await send(end, [frame(200, i)]);
      end.bytes.fill(0xff, end.free, end.free + 4096);
    }
    expectFrames(
      kept.map((bytes) => bytes()),
      [0, 1, 2].map((i) => frame(200, i)),
    );
  });

  it("that are too long or too short are dropped and counted, and the next one passes", async () => {
    const rig = await vhostRig();
    const end = await rig.start({ memory: 16 << 20 });
    await send(end, [frame(MAX_FRAME, 1)]);
    await send(end, [frame(MAX_FRAME + 1, 1)]);
    await send(end, [frame(0)]);
    await send(end, [frame(64, 2)]);
    expectFrames(rig.recorder.frames, [frame(MAX_FRAME, 1), frame(64, 2)]);
    expect(rig.drops.counts).toMatchObject({ "frame-too-long": 1, "eth-short": 1, "virtio-ring": 0 });
  });
});

describe("frames to a guest", () => {
  it("are scattered over as many buffers as they take, and told in the header", async () => {
    const rig = await vhostRig();
    const end = await rig.start();
    const long = frame(20_000, 1);
    expect(transmit(rig.recorder.links[0]!, long)).toBe(true);
    const got = end.takeFrame()!;
    expect(got.buffers).toBe(Math.ceil((20_000 + 12) / 1536));
    expectFrames([got.frame], [long]);
  });

  it("push back when there is no room, and the cable is writable again once there is", async () => {
    const rig = await vhostRig();
    const end = await rig.start({ size: 16 });
    const link = rig.recorder.links[0]!;
    let sent = 0;
    while (transmit(link, frame(1400, sent))) sent++;
    expect(sent).toBe(16);
    for (let i = 0; i < 4; i++) expectFrames([end.takeFrame()!.frame], [frame(1400, i)]);
    end.kick(RECEIVE);
    await rig.recorder.until(() => rig.recorder.writables > 0);
    expect(transmit(link, frame(1400, 99))).toBe(true);
  });

  it("that fit no buffer of a driver without mergeable ones are dropped and counted", async () => {
    const rig = await vhostRig();
    const end = await rig.start({ features: without(MRG) });
    const link = rig.recorder.links[0]!;
    transmit(link, frame(1525));
    expect(rig.drops.counts["frame-too-long"]).toBe(1);
    transmit(link, frame(1524));
    expectFrames([end.takeFrame()!.frame], [frame(1524)]);
  });

  it.each([
    ["with the event index", ~0n],
    ["without", without(EVENT_IDX)],
  ])("call the guest only when it wants to be called (%s)", async (_, features) => {
    const rig = await vhostRig();
    const end = await rig.start({ features });
    const link = rig.recorder.links[0]!;
    const ring = end.rings[RECEIVE];
    end.calls(RECEIVE);
    ring.availFlags = 1;
    ring.usedEvent = 2;
    transmit(link, frame(100));
    transmit(link, frame(100));
    expect(end.calls(RECEIVE)).toBe(0);
    ring.availFlags = 0;
    transmit(link, frame(100));
    expect(end.calls(RECEIVE)).toBe(1);
  });

  it("are told to the guest by the flush, not before", async () => {
    const rig = await vhostRig();
    const end = await rig.start();
    const link = rig.recorder.links[0]!;
    for (let i = 0; i < 3; i++) {
      const at = link.reserve(100);
      link.tx.set(frame(100, i), at);
      link.commit(100);
    }
    expect(end.rings[RECEIVE].usedIndex).toBe(0);
    link.flush();
    expect(end.rings[RECEIVE].usedIndex).toBe(3);
    expect(end.calls(RECEIVE)).toBe(1);
  });
});

describe("rings", () => {
  it("count on past 65535", async () => {
    const rig = await vhostRig();
    const end = await rig.start({ size: 256 });
    rig.recorder.keep = false;
    const link = rig.recorder.links[0]!;
    const many = 66_000;
    for (let sent = 0; sent < many; ) {
      for (let i = 0; i < 250; i++) end.offerFrame(frame(60), [], i % 2);
      sent += 250;
      end.kick(SEND);
      await end.until(() => (end.rings[SEND].usedIndex === end.rings[SEND].avail ? true : null), "used descriptors");
      for (let i = 0; i < 250; i++) {
        transmit(link, frame(60));
        end.takeFrame();
      }
    }
    expect(rig.recorder.bytes).toBe(60 * many);
    expect(rig.drops.counts["virtio-ring"]).toBe(0);
  }, 60_000);

  it("stop when asked, tell how far they came, and go on from there", async () => {
    const rig = await vhostRig();
    const end = await rig.start();
    await send(end, [frame(60, 1), frame(60, 2)]);
    expect(await end.stop(SEND)).toBe(2);
    expect(await end.stop(RECEIVE)).toBe(0);
    end.offerFrame(frame(60, 3));
    end.kick(SEND);
    expect(transmit(rig.recorder.links[0]!, frame(60))).toBe(false);
    await end.ask(m.GET_FEATURES);
    expect(rig.recorder.frames).toHaveLength(2);
    expect(rig.recorder.gone).toHaveLength(0);
    end.tellRing(RECEIVE);
    end.tellRing(SEND);
    await rig.recorder.until(() => rig.recorder.frames.length === 3 && rig.recorder.writables > 0);
    expect(transmit(rig.recorder.links[0]!, frame(60, 5))).toBe(true);
    expectFrames([end.takeFrame()!.frame], [frame(60, 5)]);
    expect(rig.recorder.links).toHaveLength(1);
  });

  it("wait while they are disabled", async () => {
    const rig = await vhostRig();
    const end = await rig.start();
    end.tellState(m.SET_VRING_ENABLE, SEND, 0);
    await end.ask(m.GET_FEATURES);
    end.offerFrame(frame(60, 1));
    end.kick(SEND);
    await end.ask(m.GET_FEATURES);
    expect(rig.recorder.frames).toHaveLength(0);
    end.tellState(m.SET_VRING_ENABLE, SEND, 1);
    await rig.recorder.until(() => rig.recorder.frames.length === 1);
  });

  it("that nobody kicks are looked at all the same", async () => {
    const rig = await vhostRig();
    const end = await rig.start();
    end.tellNumber(m.SET_VRING_KICK, BigInt(SEND) | 0x100n);
    await end.ask(m.GET_FEATURES);
    end.offerFrame(frame(60, 1));
    await rig.recorder.until(() => rig.recorder.frames.length === 1);
  });

  it("go on when memory moves, and what was there before is let go of", async () => {
    const rig = await vhostRig();
    const end = await rig.start();
    const before = guestMappings();
    await send(end, [frame(60, 1)]);
    end.tellMemory([
      { at: 0, size: end.size / 2 },
      { at: end.size / 2, size: end.size / 2 },
    ]);
    await end.ask(m.GET_FEATURES);
    await send(end, [frame(60, 2)]);
    transmit(rig.recorder.links[0]!, frame(60, 3));
    expectFrames([end.takeFrame()!.frame], [frame(60, 3)]);
    expectFrames(rig.recorder.frames, [frame(60, 1), frame(60, 2)]);
    end.tellMemory();
    await end.ask(m.GET_FEATURES);
    expect(guestMappings()).toBe(before);
  });

  it("run on memory that is added and removed region by region", async () => {
    const rig = await vhostRig();
    const end = rig.connect();
    await end.agree();
    expect(await end.ask(m.GET_MAX_MEM_SLOTS)).toBe(509n);
    const half = end.size / 2;
    const add = (at: number): void => {
      end.tell(m.ADD_MEM_REG, Buffer.concat([Buffer.alloc(8), end.region(at, half)]), [end.memoryFd], 9);
    };
    add(0);
    expect(await end.reply(m.ADD_MEM_REG)).toBe(0n);
    add(half);
    expect(await end.reply(m.ADD_MEM_REG)).toBe(0n);
    end.giveBuffers(8);
    end.tellRing(RECEIVE);
    end.tellRing(SEND);
    // A buffer across both.
    const at = half - 100;
    end.bytes.fill(0, at, at + 12);
    end.bytes.set(frame(400, 1), at + 12);
    end.rings[SEND].describe(0, { at, len: 412 });
    end.rings[SEND].offer(0);
    end.kick(SEND);
    await rig.recorder.until(() => rig.recorder.frames.length === 1);
    expectFrames(rig.recorder.frames, [frame(400, 1)]);
    end.rings[RECEIVE].describe(0, { at: half - 50, len: 600, flags: WRITE });
    transmit(rig.recorder.links[0]!, frame(300, 2));
    expectFrames([end.bytes.slice(half - 38, half + 262)], [frame(300, 2)]);
    end.tell(m.REM_MEM_REG, Buffer.concat([Buffer.alloc(8), end.region(half, half)]), [], 9);
    expect(await end.reply(m.REM_MEM_REG)).toBe(0n);
    await end.until(() => (end.rings[SEND].usedIndex === 1 ? true : null), "the ring's going on");
    end.rings[SEND].describe(0, { at: half + 100, len: 412 });
    end.rings[SEND].offer(0);
    end.kick(SEND);
    await end.until(() => (rig.drops.counts["virtio-ring"] === 1 ? true : null), "a refusal");
  });
});

describe("a front end", () => {
  it("that goes takes its cable along, and nothing of its memory or descriptors stays", async () => {
    const rig = await vhostRig();
    const mappings = guestMappings();
    const { readdirSync } = await import("node:fs");
    const open = (): number => readdirSync("/proc/self/fd").length;
    const descriptors = open();
    for (let i = 0; i < 5; i++) {
      const end = await rig.start();
      await send(end, [frame(60, i)]);
      end.close();
      await rig.recorder.until(() => rig.recorder.gone.length === i + 1);
    }
    expect(guestMappings()).toBe(mappings);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(open()).toBe(descriptors);
    expect(rig.pool.inUse).toBe(0);
    expect(rig.recorder.links[0]!.reserve(60)).toBe(-1);
  });

  it("may come beside another, as many as there may be", async () => {
    const rig = await vhostRig(undefined, 2);
    const ends = [await rig.start(), await rig.start()];
    const third = rig.connect();
    expect(await third.hungUp()).toBe(true);
    expect(rig.drops.counts["cables-full"]).toBe(1);
    await send(ends[1]!, [frame(60, 1)]);
    expect(rig.recorder.from).toEqual([rig.recorder.links[1]]);
    ends[0]!.close();
    await rig.recorder.until(() => rig.recorder.gone.length === 1);
    const again = await rig.start();
    await send(again, [frame(60, 2)]);
    expect(rig.recorder.frames).toHaveLength(2);
  });

  it("is let go when the network ends the cable, from within a frame, too", async () => {
    const rig = await vhostRig();
    const end = await rig.start();
    rig.recorder.onReceive = (link) => link.close();
    end.offerFrame(frame(60, 1));
    end.offerFrame(frame(60, 2), [], 4);
    end.kick(SEND);
    expect(await end.hungUp()).toBe(true);
    expect(rig.recorder.frames).toHaveLength(1);
    expect(rig.recorder.gone).toHaveLength(1);
    expect(rig.pool.inUse).toBe(0);
  });
});
