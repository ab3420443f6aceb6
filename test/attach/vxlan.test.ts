/** An uplink's end of VXLAN (RFC 7348), over real sockets of the loopback. */
import { afterEach, describe, expect, it } from "vitest";
import type { CableEnv } from "../../src/attach/attachment.ts";
import { SlabPool } from "../../src/attach/slab.ts";
import { openVxlan, type VxlanUplink } from "../../src/attach/vxlan.ts";
import { resolveUplink, type UplinkOptions } from "../../src/control/uplink-rules.ts";
import { DEFAULT_LIMITS, type Limits } from "../../src/core/limits.ts";
import { NO_TAP } from "../../src/core/tap.ts";
import type { DropReason } from "../../src/core/trace.ts";
import { freePlace, Vtep } from "../support/vxlan-ends.ts";
import { Drops, expectFrames, frame, Recorder, transmit } from "./recorder.ts";

const ALL = [255, 255, 255, 255, 255, 255];
const OURS = [2, 0, 0, 0, 0, 1];
const THEIRS = [2, 0, 0, 0, 0, 2];

function eth(dst: number[], src: number[], len = 60, type = 0x88b5): Uint8Array {
  const bytes = frame(len, dst[5]);
  bytes.set([...dst, ...src, type >> 8, type & 255]);
  return bytes;
}

let open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const each of open) await each.close();
  open = [];
});

async function rig(ends: number, options: Partial<UplinkOptions> = {}, limits: Partial<Limits> = {}) {
  const receiver = new Recorder();
  const drops = new Drops();
  const time = { now: 1000 };
  const env: CableEnv = {
    receiver,
    pool: new SlabPool(),
    trace: drops,
    clock: { now: () => time.now },
    tap: NO_TAP,
    limits: { ...DEFAULT_LIMITS, ...limits },
    sent: { frames: 0, bytes: 0 },
  };
  const local = await freePlace("127.0.0.9");
  const vteps: Vtep[] = [];
  for (let i = 0; i < ends; i++) vteps.push(await Vtep.open(`127.0.0.${10 + i}`, local));
  const config = resolveUplink("uplink", { remotes: vteps.map(({ place }) => place), vni: 42, local, ...options });
  const uplink: VxlanUplink = await openVxlan(config, env);
  open.push(uplink, ...vteps);
  /** Resolves once so many have been counted. */
  const dropped = async (reason: DropReason, count: number): Promise<void> => {
    while (drops.counts[reason] < count) await new Promise((resolve) => setImmediate(resolve));
  };
  return { receiver, drops, dropped, time, uplink, vteps, local };
}

describe("an uplink", () => {
  it("carries frames both ways under its VNI, and counts them", async () => {
    const { receiver, uplink, vteps } = await rig(1);
    const [far] = vteps as [Vtep];
    expect(receiver.links).toEqual([uplink]);
    const down = [eth(ALL, THEIRS), eth(OURS, THEIRS, 1464)];
    await far.send(...down);
    await receiver.until(() => receiver.frames.length === 2);
    expectFrames(receiver.frames, down);
    const up = [eth(THEIRS, OURS), eth(ALL, OURS, 1464)];
    for (const each of up) expect(transmit(uplink, each)).toBe(true);
    await far.until(() => far.got.length === 2);
    expectFrames(far.got, up);
    expect(far.vnis).toEqual([42, 42]);
    expect([uplink.received, uplink.sent]).toEqual([
      { frames: 2, bytes: 1524 },
      { frames: 2, bytes: 1524 },
    ]);
  });

  it("hears its configured ends only, at whatever port, and no other network identifier", async () => {
    const { receiver, drops, dropped, vteps, local } = await rig(1);
    const stranger = await Vtep.open("127.0.0.99", local);
    const otherPort = await Vtep.open("127.0.0.10", local);
    const otherNet = await Vtep.open("127.0.0.10", local, 43);
    open.push(stranger, otherPort, otherNet);
    await stranger.send(eth(ALL, THEIRS));
    await dropped("vxlan-peer", 1);
    await otherNet.send(eth(ALL, THEIRS));
    await dropped("vxlan-vni", 1);
    expect(receiver.frames).toHaveLength(0);
    await otherPort.send(eth(ALL, THEIRS));
    await vteps[0]!.send(eth(OURS, THEIRS));
    await receiver.until(() => receiver.frames.length === 2);
    expect([drops.counts["vxlan-peer"], drops.counts["vxlan-vni"]]).toEqual([1, 1]);
  });

  it("drops what is no VXLAN, and frames with a VLAN tag, either way", async () => {
    const { receiver, drops, dropped, uplink, vteps } = await rig(1);
    const [far] = vteps as [Vtep];
    for (let len = 0; len < 8 + 14; len++)
      await far.raw(Uint8Array.from([8, 0, 0, 0, 0, 0, 42, 0, ...new Array(14)]).slice(0, len));
    await far.raw(new Uint8Array(100));
    await dropped("vxlan-malformed", 23);
    await far.send(eth(OURS, THEIRS, 60, 0x8100), eth(OURS, THEIRS, 60, 0x88a8));
    await dropped("vlan-tagged", 2);
    transmit(uplink, eth(THEIRS, OURS, 60, 0x8100));
    expect(drops.counts["vlan-tagged"]).toBe(3);
    expect(receiver.frames).toHaveLength(0);
    await far.send(eth(OURS, THEIRS));
    await receiver.until(() => receiver.frames.length === 1);
  });

  it("RFC 7348 section 4.3: does not fragment: what is too big for the network between is dropped and counted", async () => {
    const { drops, uplink, vteps } = await rig(1);
    const [far] = vteps as [Vtep];
    transmit(uplink, eth(THEIRS, OURS, 1465));
    expect(drops.counts["uplink-mtu"]).toBe(1);
    transmit(uplink, eth(THEIRS, OURS, 1464));
    await far.until(() => far.got.length === 1);
    expect(far.got[0]).toHaveLength(1464);
  });

  it("sends what is for all, or for nobody known, to each end, and what is for a known address to its end alone", async () => {
    const { receiver, uplink, vteps } = await rig(3);
    await vteps[1]!.send(eth(ALL, THEIRS));
    await receiver.until(() => receiver.frames.length === 1);
    transmit(uplink, eth(ALL, OURS));
    transmit(uplink, eth([2, 0, 0, 0, 0, 77], OURS));
    transmit(uplink, eth(THEIRS, OURS));
    await vteps[1]!.until(() => vteps[1]!.got.length === 3);
    transmit(uplink, eth(ALL, OURS));
    for (const vtep of [vteps[0]!, vteps[2]!]) {
      await vtep.until(() => vtep.got.length === 3);
      expectFrames(vtep.got, [eth(ALL, OURS), eth([2, 0, 0, 0, 0, 77], OURS), eth(ALL, OURS)]);
    }
  });

  it("knows the ends of no more addresses than it may, and counts those it forgets; what is for them goes to each end", async () => {
    const { receiver, drops, uplink, vteps } = await rig(2, {}, { uplinkMacs: 2 });
    const address = (i: number): number[] => [2, 0, 0, 0, 0, i];
    const hear = async (i: number, count: number): Promise<void> => {
      await vteps[1]!.send(eth(ALL, address(i)));
      await receiver.until(() => receiver.frames.length === count);
    };
    for (let i = 1; i <= 3; i++) await hear(i, i);
    expect(drops.counts["macs-full"]).toBe(1);
    for (const i of [3, 1]) transmit(uplink, eth(address(i), OURS));
    await vteps[0]!.until(() => vteps[0]!.got.length === 1);
    expectFrames(vteps[0]!.got, [eth(address(1), OURS)]);
    await hear(1, 4);
    transmit(uplink, eth(address(1), OURS));
    transmit(uplink, eth(ALL, OURS));
    await vteps[0]!.until(() => vteps[0]!.got.length === 2);
    expectFrames(vteps[0]!.got.slice(1), [eth(ALL, OURS)]);
  });

  it("a loop between its ends, which brings each frame twice, is heard once, and an address moves after a second of silence", async () => {
    const { receiver, drops, dropped, time, uplink, vteps } = await rig(2);
    for (let i = 0; i < 5; i++) {
      await vteps[0]!.send(eth(ALL, THEIRS));
      await receiver.until(() => receiver.frames.length === i + 1);
      await vteps[1]!.send(eth(ALL, THEIRS));
      await dropped("mac-flapping", i + 1);
      time.now += 500;
    }
    expect(receiver.frames).toHaveLength(5);
    time.now += 1_000;
    await vteps[1]!.send(eth(ALL, THEIRS));
    await receiver.until(() => receiver.frames.length === 6);
    transmit(uplink, eth(THEIRS, OURS));
    await vteps[1]!.until(() => vteps[1]!.got.length === 1);
    expect(vteps[0]!.got).toHaveLength(0);
    expect(drops.counts["mac-flapping"]).toBe(5);
  });

  it("remembers 4096 addresses; of more it forgets the first, whose frames go to all ends", async () => {
    const { receiver, uplink, vteps } = await rig(2);
    for (let i = 0; i < 4_100; i += 100) {
      const some = Array.from({ length: 100 }, (_, j) => eth(OURS, [2, 1, 0, 0, (i + j) >> 8, (i + j) & 255]));
      await vteps[0]!.send(...some);
      await receiver.until(() => receiver.frames.length === i + 100);
    }
    expect(uplink.size).toBe(4_096);
    transmit(uplink, eth([2, 1, 0, 0, 0, 99], OURS));
    transmit(uplink, eth([2, 1, 0, 0, 0, 0], OURS));
    await vteps[1]!.until(() => vteps[1]!.got.length === 1);
    expectFrames(vteps[1]!.got, [eth([2, 1, 0, 0, 0, 0], OURS)]);
  });

  it("says in one line what the host refuses", async () => {
    const { local } = await rig(1);
    const again = openVxlan(resolveUplink("uplink", { remotes: ["127.0.0.10"], vni: 1, local }), {} as CableEnv);
    await expect(again).rejects.toThrow(/^cannot open the uplink at 127\.0\.0\.9:\d+: another program has this port$/);
  });
});
