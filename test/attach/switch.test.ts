import { describe, expect, it } from "vitest";
import { LanGuard } from "../../src/attach/guard.ts";
import { cable, type MemoryCable } from "../../src/attach/memory.ts";
import { Switch } from "../../src/attach/switch.ts";
import { ipv4FromText } from "../../src/core/address.ts";
import { DEFAULT_LIMITS, type Limits } from "../../src/core/limits.ts";
import type { Link, LinkReceiver } from "../../src/core/link.ts";
import { NO_TAP } from "../../src/core/tap.ts";
import { get16 } from "../../src/wire/bytes.ts";
import { Drops, expectFrames, Recorder, transmit } from "./recorder.ts";

const GATEWAY = [0x52, 0x55, 10, 0, 2, 2];
const ALL = [255, 255, 255, 255, 255, 255];
const A = [0x52, 0x54, 0, 0, 0, 1];
const B = [0x52, 0x54, 0, 0, 0, 2];
const C = [0x52, 0x54, 0, 0, 0, 3];

/** A datagram of 10.0.2.15. */
const DATAGRAM = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 2, 15, 10, 0, 2, 16, 0, 9, 0, 9, 0, 8, 0, 0];

/** An Ethernet frame with a datagram, or of `type` with a payload. */
function eth(dst: number[], src: number[], payload: readonly number[] = DATAGRAM, type = 0x0800): Uint8Array {
  return Uint8Array.from([...dst, ...src, type >> 8, type & 255, ...payload]);
}

function rig(guests: number, isolate = false, limits: Partial<Limits> = {}) {
  const inner = new Recorder();
  const drops = new Drops();
  const time = { now: 1000 };
  const probed: [string, number][] = [];
  const answers = { probes: true };
  const lan = new Switch({
    inner,
    clock: { now: () => time.now },
    trace: drops,
    gatewayMacs: [Uint8Array.from(GATEWAY)],
    tap: NO_TAP,
    isolate,
    limits: { ...DEFAULT_LIMITS, ...limits },
    probe: (link, mac) => {
      probed.push([link.name, mac & 255]);
      return answers.probes;
    },
    guard: new LanGuard({
      isOurs: (ip) => ip === ipv4FromText("10.0.2.2") || ip === ipv4FromText("10.0.2.3"),
      isOurs6: (buf, at) => V6_GATEWAY.every((byte, i) => buf[at + i] === byte),
      isOthers: (_link, ip, buf, mac) => ip === ipv4FromText("10.0.2.99") && buf[mac + 5] !== 2,
      isOthers6: (_link, buf, at, mac) => get16(buf, at + 14) === 0x9999 && buf[mac + 5] !== 2,
      isGuest: (ip) => (ip & ~255) === ipv4FromText("10.0.2.0"),
      isGuest6: (buf, at) => V6_GATEWAY.subarray(0, 8).every((byte, i) => buf[at + i] === byte),
      isPromised: (_link, ip) => ip === ipv4FromText("10.0.2.98"),
      isPromised6: (_link, buf, at) => get16(buf, at + 14) === 0x9898,
    }),
  });
  const cables: MemoryCable[] = [];
  const got: Uint8Array[][] = [];
  const plug = (receiver: LinkReceiver = lan) => {
    const mine: Uint8Array[] = [];
    got.push(mine);
    cables.push(cable(receiver, { onFrame: (f) => mine.push(f) }));
  };
  const plugUplink = () => {
    const attached = (link: Link): void => lan.attached(Object.assign(link, { uplink: true, endless: true }));
    plug({
      attached,
      receive: (...args) => lan.receive(...args),
      batchEnd: (link) => lan.batchEnd(link),
      writable: (link) => lan.writable(link),
      detached: (link) => lan.detached(link),
    });
  };
  for (let i = 0; i < guests; i++) plug();
  return { inner, drops, time, lan, cables, got, plug, plugUplink, probed, answers };
}

const V6_GATEWAY = Uint8Array.from([0xfe, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);

describe("the switch", () => {
  it("passes everything to the stack while there is one cable", () => {
    const { inner, cables, drops } = rig(1);
    const frames = [eth(GATEWAY, A), eth(ALL, A), eth(B, A)];
    for (const f of frames) cables[0]!.send(f);
    expectFrames(inner.frames, frames);
    expect(inner.batches).toBe(3);
    expect(Object.values(drops.counts).every((n) => n === 0)).toBe(true);
  });

  it("sends group frames to the stack and all others, once each", () => {
    const { inner, cables, got } = rig(3);
    const multicast = eth([0x33, 0x33, 0, 0, 0, 1], A);
    cables[0]!.send(eth(ALL, A), multicast);
    expectFrames(inner.frames, [eth(ALL, A), multicast]);
    expect(got[0]).toHaveLength(0);
    expectFrames(got[1]!, [eth(ALL, A), multicast]);
    expectFrames(got[2]!, [eth(ALL, A), multicast]);
  });

  it("sends known addresses to their cable alone, unknown ones to all others, neither to the stack", () => {
    const { inner, cables, got } = rig(3);
    cables[1]!.send(eth(GATEWAY, B));
    cables[0]!.send(eth(B, A), eth(C, A));
    expectFrames(inner.frames, [eth(GATEWAY, B)]);
    expectFrames(got[1]!, [eth(B, A), eth(C, A)]);
    expectFrames(got[2]!, [eth(C, A)]);
    cables[1]!.send(eth(A, B));
    expectFrames(got[0]!, [eth(A, B)]);
    // To somebody on one's own cable: goes nowhere.
    cables[0]!.send(eth(A, C));
    expect(got[1]).toHaveLength(2);
    expect(got[2]).toHaveLength(1);
  });

  it("sends the gateway's to the stack alone", () => {
    const { inner, cables, got } = rig(2);
    cables[0]!.send(eth(GATEWAY, A));
    expect(inner.frames).toHaveLength(1);
    expect(inner.from).toEqual([cables[0]!.link]);
    expect(got[1]).toHaveLength(0);
  });

  it("never learns the gateway's address, nor takes a group's for a sender's", () => {
    const { inner, cables, got, drops, lan } = rig(2);
    cables[1]!.send(eth(ALL, GATEWAY), eth(ALL, ALL), eth(A, [3, 0, 0, 0, 0, 1]));
    cables[0]!.send(eth(GATEWAY, A));
    expect(drops.counts["mac-spoofed"]).toBe(3);
    expect(lan.size).toBe(1);
    expectFrames(inner.frames, [eth(GATEWAY, A)]);
    expect(got.flat()).toHaveLength(0);
  });

  it("does not let one guest take another's address while its cable is there, however silent it is", () => {
    const { inner, cables, got, drops, time } = rig(3);
    cables[0]!.send(eth(GATEWAY, A));
    for (const silence of [0, 300_001, 86_400_000]) {
      time.now += silence;
      cables[1]!.send(eth(GATEWAY, A), eth(ALL, A));
      cables[2]!.send(eth(A, C));
    }
    expect(drops.counts["mac-spoofed"]).toBe(6);
    expect(inner.frames).toHaveLength(1);
    expect(got.map((frames) => frames.length)).toEqual([3, 0, 0]);
    cables[0]!.close();
    cables[1]!.send(eth(GATEWAY, A));
    expect(inner.frames).toHaveLength(2);
  });

  it("knows the first guest's address when the second comes, however late", () => {
    const { cables, drops, time, plug } = rig(1);
    cables[0]!.send(eth(ALL, A));
    time.now += 1e9;
    plug();
    cables[1]!.send(eth(GATEWAY, A));
    expect(drops.counts["mac-spoofed"]).toBe(1);
  });

  it("sends frames for a silent guest to its cable alone, for days; what is behind an uplink is looked for again", () => {
    const { cables, got, time, plugUplink } = rig(3);
    plugUplink();
    cables[1]!.send(eth(GATEWAY, B));
    cables[3]!.send(eth(GATEWAY, C));
    time.now += 86_400_000;
    cables[0]!.send(eth(B, A), eth(C, A));
    expect(got.map((frames) => frames.length)).toEqual([0, 2, 1, 1]);
  });

  it("bounds its table, and a flood of addresses pushes out the flooder's own only", () => {
    const { cables, got, lan } = rig(3);
    cables[0]!.send(eth(GATEWAY, A));
    for (let i = 0; i < 5000; i++) cables[1]!.send(eth(GATEWAY, [2, 9, 9, 9, i >> 8, i & 255]));
    expect(lan.size).toBe(65);
    cables[2]!.send(eth(A, C));
    expect(got[1]).toHaveLength(0);
    expectFrames(got[0]!, [eth(A, C)]);
  });

  it("holds at most 1024 addresses, and serves those it has no room for", () => {
    const { cables, inner, lan, got } = rig(20);
    for (const [p, c] of cables.entries()) {
      for (let i = 0; i < 64; i++) c.send(eth(GATEWAY, [2, 9, 9, p, 0, i]));
    }
    expect(lan.size).toBe(1024);
    expect(inner.frames).toHaveLength(20 * 64);
    cables[0]!.send(eth([2, 9, 9, 19, 0, 63], [2, 9, 9, 0, 0, 63]));
    expect(got[19]).toHaveLength(1);
  });

  it("knows no more addresses than it may, of one guest and of all, counts the others and serves them", () => {
    const { cables, lan, got, drops } = rig(3, false, { macs: 5, macsPerGuest: 3 });
    const speak = (p: number, i: number): void => cables[p]!.send(eth(GATEWAY, [2, 9, 9, p, 0, i]));
    for (let i = 0; i < 5; i++) speak(0, i);
    expect(lan.size).toBe(3);
    expect(drops.counts["macs-full"]).toBe(2);
    speak(1, 0);
    speak(1, 1);
    expect(drops.counts["macs-full"]).toBe(2);
    speak(2, 0);
    expect(lan.size).toBe(5);
    expect(drops.counts["macs-full"]).toBe(3);
    // Whoever had most has made room.
    cables[1]!.send(eth([2, 9, 9, 0, 0, 2], [2, 9, 9, 1, 0, 0]));
    expect(got.map((frames) => frames.length)).toEqual([1, 0, 1]);
    got[2]!.length = 0;
    cables[1]!.send(eth([2, 9, 9, 2, 0, 0], [2, 9, 9, 1, 0, 0]));
    expect(got[2]).toHaveLength(1);
    cables[0]!.close();
    speak(2, 0);
    expect(lan.size).toBe(3);
    expect(drops.counts["macs-full"]).toBe(3);
  });

  it("keeps a silent guest's one address while two others fill the table together", () => {
    const { cables, got, lan, time, drops } = rig(4, false, { macs: 8, macsPerGuest: 6 });
    cables[0]!.send(eth(GATEWAY, A));
    time.now += 86_400_000;
    for (let i = 0; i < 50; i++) for (const p of [1, 2]) cables[p]!.send(eth(GATEWAY, [2, 9, 9, p, 0, i]));
    expect(lan.size).toBe(8);
    for (const p of [1, 2]) cables[p]!.send(eth(GATEWAY, A));
    expect(drops.counts["mac-spoofed"]).toBe(2);
    // And a guest that comes now is known as well.
    cables[3]!.send(eth(A, B), eth(GATEWAY, B));
    cables[0]!.send(eth(B, A));
    expect(got.map((frames) => frames.length)).toEqual([1, 0, 0, 1]);
  });

  it("lets as many frames to all pass a second as it may, and counts the others", () => {
    const { cables, got, drops, time } = rig(2, false, { floodRate: 10 });
    for (let i = 0; i < 15; i++) cables[0]!.send(eth(ALL, A));
    expect(got[1]).toHaveLength(10);
    expect(drops.counts.storm).toBe(5);
    time.now += 1_000;
    for (let i = 0; i < 10; i++) cables[0]!.send(eth(ALL, A));
    expect(got[1]).toHaveLength(20);
    expect(drops.counts.storm).toBe(5);
  });

  it("drops and counts what another guest's full cable does not take", () => {
    const { cables, got, drops } = rig(3);
    cables[1]!.stall(true);
    cables[0]!.send(eth(ALL, A));
    expect(drops.counts["cable-full"]).toBe(1);
    expect(got[2]).toHaveLength(1);
  });

  it("flushes the others once a batch", () => {
    const { cables, lan } = rig(2);
    let flushes = 0;
    const { link } = cables[1]!;
    const flush = link.flush.bind(link);
    link.flush = () => {
      flushes++;
      flush();
    };
    cables[0]!.send(eth(ALL, A), eth(ALL, A), eth(ALL, A));
    expect(flushes).toBe(1);
    expect(lan.size).toBe(1);
  });

  it("survives short frames", () => {
    const { cables, drops, inner } = rig(2);
    for (let len = 1; len < 14; len++) cables[0]!.send(eth(GATEWAY, A).slice(0, len), new Uint8Array(len).fill(255));
    expect(drops.counts["eth-short"]).toBe(26);
    expect(inner.frames).toHaveLength(0);
  });

  it("lets the stack write to any cable", () => {
    const { cables, got } = rig(2);
    transmit(cables[1]!.link, eth(B, GATEWAY));
    expectFrames(got[1]!, [eth(B, GATEWAY)]);
  });
});

describe("the switch with uplinks", () => {
  /** Cables 0 and 1 are guests', 2 and 3 uplinks. */
  function joined() {
    const made = rig(2);
    made.plugUplink();
    made.plugUplink();
    return made;
  }
  const FAR = [2, 0, 0, 0, 0, 99];

  it("what comes by an uplink goes to guests, never out by an uplink (split horizon)", () => {
    const { cables, got, inner } = joined();
    cables[2]!.send(eth(ALL, FAR), eth(B, FAR));
    cables[3]!.send(eth(GATEWAY, C));
    expect(got.map((frames) => frames.length)).toEqual([2, 2, 0, 0]);
    expect(inner.frames).toHaveLength(2);
    // To somebody behind another uplink: the segment has its own way there.
    cables[3]!.send(eth(FAR, C));
    cables[2]!.send(eth(FAR, FAR));
    expect(got.map((frames) => frames.length)).toEqual([2, 2, 0, 0]);
    cables[0]!.send(eth(FAR, A));
    expect(got.map((frames) => frames.length)).toEqual([2, 2, 1, 0]);
  });

  it("a guest's frames that come back by a loop are dropped, and its address stays, for as long as its cable", () => {
    const { cables, got, drops, time } = joined();
    cables[0]!.send(eth(ALL, A));
    time.now += 10 * 300_000;
    cables[2]!.send(eth(ALL, A));
    expect(drops.counts["mac-spoofed"]).toBe(1);
    expect(got[0]).toHaveLength(0);
    cables[0]!.close();
    cables[2]!.send(eth(ALL, A));
    expect(drops.counts["mac-spoofed"]).toBe(1);
  });

  it("an address heard by two uplinks stays with the first while that hears it", () => {
    const { cables, got, drops, time } = joined();
    for (let i = 0; i < 4; i++) {
      cables[2]!.send(eth(ALL, FAR));
      cables[3]!.send(eth(ALL, FAR));
      time.now += 900;
    }
    expect(drops.counts["mac-flapping"]).toBe(4);
    expect(got[0]).toHaveLength(4);
    time.now += 200;
    cables[3]!.send(eth(ALL, FAR));
    cables[0]!.send(eth(FAR, A));
    expect(got.map((frames) => frames.length)).toEqual([5, 5, 0, 1]);
  });

  it("no guest takes the address of a machine of the segment, until that has been silent for five minutes and does not answer", () => {
    const { cables, drops, time, inner, probed } = joined();
    cables[2]!.send(eth(ALL, FAR));
    time.now += 300_000;
    cables[0]!.send(eth(ALL, FAR));
    expect(probed).toHaveLength(0);
    time.now += 1;
    cables[0]!.send(eth(ALL, FAR));
    expect(probed).toHaveLength(1);
    expect(drops.counts["mac-spoofed"]).toBe(2);
    time.now += 2_001;
    cables[0]!.send(eth(ALL, FAR));
    expect(drops.counts["mac-spoofed"]).toBe(2);
    expect(inner.frames).toHaveLength(2);
  });

  it("what bridges say to each other is not passed on (IEEE 802.1Q section 8.6.3)", () => {
    const { cables, got, drops, inner } = joined();
    const bpdu = eth([0x01, 0x80, 0xc2, 0, 0, 0], FAR);
    cables[2]!.send(bpdu);
    cables[0]!.send(eth([0x01, 0x80, 0xc2, 0, 0, 0x0e], A));
    expect(got.flat()).toHaveLength(0);
    expect(inner.frames).toHaveLength(0);
    expect(drops.counts["bridge-control"]).toBe(2);
    cables[0]!.send(eth([0x01, 0x80, 0xc2, 0, 0, 0x10], A));
    expect(got[1]).toHaveLength(1);
  });

  it("holds 4096 addresses behind each uplink, and they take no guest's place", () => {
    const { cables, lan, got } = joined();
    cables[0]!.send(eth(ALL, A));
    for (let i = 0; i < 5_000; i++) cables[2]!.send(eth(GATEWAY, [2, 9, 9, 9, i >> 8, i & 255]));
    expect(lan.size).toBe(4_097);
    got[1]!.length = 0;
    cables[2]!.send(eth(A, FAR));
    expect(got[0]).toHaveLength(1);
    expect(got[1]).toHaveLength(0);
    cables[2]!.close();
    expect(lan.size).toBe(1);
  });

  it("knows no more addresses behind an uplink than it may, counts those it forgets, and learns them again", () => {
    const made = rig(1, false, { uplinkMacs: 4 });
    made.plugUplink();
    const { cables, lan, drops } = made;
    for (let i = 0; i < 6; i++) cables[1]!.send(eth(GATEWAY, [2, 9, 9, 9, 0, i]));
    expect(lan.size).toBe(4);
    expect(drops.counts["macs-full"]).toBe(2);
    cables[0]!.send(eth([2, 9, 9, 9, 0, 0], A));
    cables[1]!.send(eth(GATEWAY, [2, 9, 9, 9, 0, 0]));
    expect(lan.size).toBe(5);
    expect(drops.counts["macs-full"]).toBe(3);
  });

  it("guests kept apart reach the segment, and it reaches them", () => {
    const { cables, got, drops } = (() => {
      const made = rig(2, true);
      made.plugUplink();
      return made;
    })();
    cables[0]!.send(eth(ALL, A));
    cables[2]!.send(eth(ALL, FAR));
    cables[0]!.send(eth(FAR, A));
    cables[1]!.send(eth(A, B));
    expect(got.map((frames) => frames.length)).toEqual([1, 1, 2]);
    expect(drops.counts.isolated).toBe(1);
  });
});

describe("a guest that moves from a cable that does not notice its end", () => {
  /** Cable 0 is over UDP, so to speak; A speaks there. */
  function moving() {
    const made = rig(2);
    Object.assign(made.cables[0]!.link, { endless: true });
    made.cables[0]!.send(eth(GATEWAY, A));
    made.inner.frames.length = 0;
    const passes = () => {
      made.cables[1]!.send(eth(GATEWAY, A));
      return made.inner.frames.splice(0).length === 1;
    };
    return { ...made, passes };
  }

  it("is believed once its old place has been silent for half a minute and then does not answer", () => {
    const { time, passes, probed, cables, got, drops } = moving();
    time.now += 30_000;
    expect(passes()).toBe(false);
    expect(probed).toHaveLength(0);
    time.now += 1;
    expect(passes()).toBe(false);
    expect(probed).toEqual([["memory", 1]]);
    time.now += 2_000;
    expect(passes()).toBe(false);
    time.now += 1;
    expect(passes()).toBe(true);
    expect(probed).toHaveLength(1);
    expect(drops.counts["mac-spoofed"]).toBe(3);
    cables[0]!.send(eth(A, B));
    expect(got[1]).toHaveLength(1);
    // And the old place has it no more.
    cables[0]!.send(eth(GATEWAY, A));
    expect(drops.counts["mac-spoofed"]).toBe(4);
  });

  it("is an impostor if the old place answers, however often it tries", () => {
    const { time, passes, probed, cables, inner } = moving();
    for (let i = 1; i <= 3; i++) {
      time.now += 30_001;
      expect(passes()).toBe(false);
      expect(probed).toHaveLength(i);
      time.now += 5;
      cables[0]!.send(eth(GATEWAY, A));
      inner.frames.length = 0;
      time.now += 3_000;
      expect(passes()).toBe(false);
    }
  });

  it("waits for the address to age where nothing can be asked; behind a cable that notices its end it is there", () => {
    const { time, passes, answers } = moving();
    answers.probes = false;
    time.now += 299_000;
    for (let i = 0; i < 3; i++) expect(passes()).toBe(false);
    time.now += 2_000;
    expect(passes()).toBe(true);
    const noticing = rig(2);
    noticing.cables[0]!.send(eth(GATEWAY, A));
    for (const silence of [299_000, 2_000, 86_400_000]) {
      noticing.time.now += silence;
      noticing.cables[1]!.send(eth(GATEWAY, A));
    }
    expect(noticing.probed).toHaveLength(0);
    expect(noticing.inner.frames).toHaveLength(1);
  });
});

describe("a storm", () => {
  it("of frames to all passes at 5000 a second, from a guest as from the segment; unicast and other cables are not held up", () => {
    const { cables, got, drops, time, plugUplink } = rig(2);
    plugUplink();
    cables[1]!.send(eth(GATEWAY, B));
    for (const [storming, source] of [
      [cables[0]!, A],
      [cables[2]!, C],
    ] as const) {
      got[1]!.length = 0;
      drops.counts.storm = 0;
      for (let i = 0; i < 20_000; i++) storming.send(eth(ALL, source));
      expect(got[1]).toHaveLength(5_000);
      expect(drops.counts.storm).toBe(15_000);
      storming.send(eth(B, source));
      cables[1]!.send(eth(ALL, B));
      expect(got[1]).toHaveLength(5_001);
      time.now += 500;
      for (let i = 0; i < 20_000; i++) storming.send(eth(ALL, source));
      expect(got[1]).toHaveLength(7_501);
      // Whoever is unknown is a flood as well.
      storming.send(eth([2, 7, 7, 7, 7, 7], source));
      expect(got[1]).toHaveLength(7_501);
    }
  });
});

describe("what one guest may not say to another", () => {
  const V6_OTHER = [...V6_GATEWAY.slice(0, 15), 99];
  const V6_PEER = [...V6_GATEWAY.slice(0, 15), 98];
  const ANOTHERS = [...V6_GATEWAY.slice(0, 14), 0x99, 0x99];
  const PROMISED = [...V6_GATEWAY.slice(0, 14), 0x98, 0x98];
  const WORLD6 = [0x20, 1, 0x48, 0x60, 0x48, 0x60, ...new Array(8).fill(0), 0x88, 0x88];
  const NOBODY = new Array(16).fill(0);
  const GUEST = [10, 0, 2, 15];
  interface ArpSpec {
    readonly op?: number;
    readonly mac?: number[];
    readonly target?: number[];
    readonly hardware?: number;
    readonly proto?: number;
  }
  const arp = (
    ip: number[],
    { op = 2, mac = A, target = [10, 0, 2, 16], hardware = 1, proto = 0x0800 }: ArpSpec = {},
  ) => eth(ALL, A, [0, hardware, proto >> 8, proto & 255, 6, 4, 0, op, ...mac, ...ip, ...B, ...target], 0x0806);
  const ip4 = (payload: number[], { src = GUEST, proto = 17, fragment = 0, ihl = 5 } = {}) =>
    eth(
      ALL,
      A,
      [0x40 | ihl, 0, 0, 0, 0, 0, fragment >> 8, fragment & 255, 64, proto, 0, 0, ...src, 255, 255, 255, 255].concat(
        new Array(Math.max(0, ihl - 5) * 4).fill(1),
        payload,
      ),
    );
  const udp = (srcPort: number, dstPort = 9) => [srcPort >> 8, srcPort & 255, dstPort >> 8, dstPort & 255, 0, 8, 0, 0];
  const icmp = (type: number, quoted: number[]) => [type, 0, 0, 0, 0, 0, 0, 0, ...new Array(16).fill(0), ...quoted];
  const ip6 = (next: number, payload: number[], src: Iterable<number> = V6_OTHER) =>
    eth(
      ALL,
      A,
      [0x60, 0, 0, 0, 0, payload.length, next, 255, ...src, 0xff, 2, ...new Array(13).fill(0), 1, ...payload],
      0x86dd,
    );
  const icmp6 = (type: number, target: Iterable<number> = V6_OTHER) => [type, 0, 0, 0, 0, 0, 0, 0, ...target];
  const error6 = (type: number, quoted: Iterable<number>) => [
    type,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    ...new Array(24).fill(0),
    ...quoted,
  ];
  const mac = (type: number, of: number[]) => [type, 1, ...of];
  const options = (next: number, len8 = 0) => [next, len8, ...new Array(6 + 8 * len8).fill(0)];
  const fragment = (next: number, offset = 0) => [next, 0, offset >> 8, offset & 255, 0, 0, 0, 1];
  /** In tags, outermost first, each 802.1Q's unless it is said. */
  const tagged = (frame: Uint8Array, ...tags: [vid: number, type?: number][]) =>
    eth(
      [...frame.subarray(0, 6)],
      [...frame.subarray(6, 12)],
      [
        ...tags.flatMap(([vid], i) => [
          vid >> 8,
          vid & 255,
          ...(tags[i + 1] === undefined ? [] : [(tags[i + 1]![1] ?? 0x8100) >> 8, (tags[i + 1]![1] ?? 0x8100) & 255]),
        ]),
        ...frame.subarray(12),
      ],
      tags[0]![1] ?? 0x8100,
    );
  /** As IEEE 802.2 has it, with a type by SNAP (RFC 1042). */
  const snap = (frame: Uint8Array) =>
    eth(
      [...frame.subarray(0, 6)],
      [...frame.subarray(6, 12)],
      [0xaa, 0xaa, 3, 0, 0, 0, ...frame.subarray(12)],
      frame.length - 6,
    );

  const bad: readonly (readonly [string, Uint8Array])[] = [
    ["ARP for the gateway's address", arp([10, 0, 2, 2])],
    ["ARP for the DNS server's", arp([10, 0, 2, 3])],
    ["ARP for the metadata service's", arp([169, 254, 169, 254])],
    ["ARP for a server in the world", arp([8, 8, 8, 8], { op: 1 })],
    ["ARP that speaks for another card", arp(GUEST, { mac: B })],
    ["ARP for the gateway under IEEE 802's hardware type", arp([10, 0, 2, 2], { hardware: 6 })],
    ["ARP of another hardware type", arp(GUEST, { hardware: 7 })],
    ["ARP of another protocol", arp(GUEST, { proto: 0x0801 })],
    ["ARP's answer from nobody", arp([0, 0, 0, 0])],
    ["reverse ARP under ARP's type", arp(GUEST, { op: 4 })],
    ["ARP that is cut off", arp([10, 0, 2, 2]).slice(0, 14 + 27)],
    ["a probe for what another has just been given", arp([0, 0, 0, 0], { op: 1, target: [10, 0, 2, 98] })],
    ["IPv4 from the gateway's address", ip4(udp(5000), { src: [10, 0, 2, 2] })],
    ["a name server's answer from the world", ip4(udp(53), { src: [8, 8, 8, 8] })],
    ["a reset from a server in the world", ip4(new Array(20).fill(0), { src: [93, 184, 216, 34], proto: 6 })],
    ["a later fragment from the world", ip4(udp(53), { src: [8, 8, 8, 8], fragment: 5 })],
    ["IPv4 from loopback", ip4(udp(9), { src: [127, 0, 0, 1] })],
    ["IPv4 from a group", ip4(udp(9), { src: [224, 0, 0, 1] })],
    ["a datagram from nobody", ip4(udp(9), { src: [0, 0, 0, 0] })],
    ["a DHCP server's answer", ip4(udp(67, 68))],
    ["a DHCP server's answer from port 1067", ip4(udp(1067, 68))],
    ["a DHCP server's answer from nobody", ip4(udp(67, 68), { src: [0, 0, 0, 0] })],
    ["the same behind IP options", ip4(udp(9, 68), { ihl: 15 })],
    ["the same in a first fragment", ip4(udp(9, 68), { fragment: 0x2000 })],
    ["UDP whose ports are cut off", ip4(udp(67).slice(0, 1))],
    ["a header that says that it is shorter than it is", ip4(udp(9), { ihl: 4 })],
    ["a header that says that it is longer than the frame", ip4([], { ihl: 6 }).slice(0, 34)],
    ["IPv6 under IPv4's type", Uint8Array.from(ip4(udp(9)), (byte, i) => (i === 14 ? 0x65 : byte))],
    ["an ICMP redirect", ip4(icmp(5, GUEST), { proto: 1 })],
    ["an ICMP router advertisement", ip4(icmp(9, GUEST), { proto: 1 })],
    ["an ICMP error about a packet to the world", ip4(icmp(3, [8, 8, 8, 8]), { proto: 1 })],
    ["one about a packet to another guest", ip4(icmp(11, [10, 0, 2, 99]), { proto: 1 })],
    ["one whose packet comes in a later fragment", ip4(icmp(3, GUEST).slice(0, 16), { proto: 1, fragment: 0x2000 })],
    ["a router advertisement", ip6(58, icmp6(134))],
    ["a redirect", ip6(58, icmp6(137))],
    ["the same behind extension headers", ip6(0, [...options(60, 2), ...options(58), ...icmp6(134)])],
    ["the same behind an authentication header", ip6(51, [58, 0, ...new Array(6).fill(0), ...icmp6(134)])],
    ["the same in a first fragment", ip6(44, [...fragment(58), ...icmp6(134)])],
    ["the same in a fragment within a fragment", ip6(44, [...fragment(44), ...fragment(58), ...icmp6(134)])],
    ["a header chain that is cut off", ip6(44, [...fragment(60)])],
    [
      "a chain without end",
      ip6(
        60,
        new Array(40).fill(0).flatMap(() => options(60)),
      ),
    ],
    ["a routing header with a way to go", ip6(43, [17, 0, 0, 1, 0, 0, 0, 0, ...udp(9)])],
    ["a DHCPv6 server's answer", ip6(17, udp(547, 546))],
    ["a DHCPv6 server's answer from port 1547", ip6(17, udp(1547, 546))],
    [
      "the same behind extension headers and in a first fragment",
      ip6(0, [...options(44), ...fragment(17), ...udp(9, 546)]),
    ],
    ["IPv6 whose ports are cut off", ip6(17, udp(9).slice(0, 4))],
    ["a neighbour advertisement for the gateway's address", ip6(58, icmp6(136, V6_GATEWAY))],
    ["a neighbour advertisement that is cut off", ip6(58, icmp6(136, V6_GATEWAY).slice(0, 20))],
    ["a neighbour advertisement in a fragment", ip6(44, [...fragment(58), ...icmp6(136)])],
    ["a neighbour advertisement with another card's MAC", ip6(58, [...icmp6(136), ...mac(2, B)])],
    ["a solicitation with another card's MAC", ip6(58, [...icmp6(135), ...mac(1, B)])],
    ["a router solicitation with another card's MAC", ip6(58, [133, 0, 0, 0, 0, 0, 0, 0, ...mac(1, B)])],
    ["a neighbour advertisement from nobody", ip6(58, icmp6(136), NOBODY)],
    ["duplicate detection of what another has just been given", ip6(58, icmp6(135, PROMISED), NOBODY)],
    ["a datagram from nobody by IPv6", ip6(17, udp(9), NOBODY)],
    ["IPv6 from the gateway's address", ip6(58, icmp6(128), V6_GATEWAY)],
    ["IPv6 from the world", ip6(6, new Array(20).fill(0), WORLD6)],
    ["an ICMPv6 error about a packet to the world", ip6(58, error6(2, WORLD6))],
    ["an ICMPv6 error that quotes too little", ip6(58, error6(1, V6_OTHER).slice(0, 40))],
    ["IPv4 under IPv6's type", Uint8Array.from(ip6(17, udp(9)), (byte, i) => (i === 14 ? 0x40 : byte))],
    ["ARP for another guest's address", arp([10, 0, 2, 99])],
    ["IPv4 from another guest's address", ip4([0, 67, 0, 80], { src: [10, 0, 2, 99], proto: 6 })],
    ["a neighbour advertisement for another guest's address", ip6(58, icmp6(136, ANOTHERS))],
    ["IPv6 from another guest's address", ip6(58, icmp6(128), ANOTHERS)],
  ];
  const good: readonly (readonly [string, Uint8Array])[] = [
    ["ARP for its own", arp(GUEST)],
    ["a probe for an address", arp([0, 0, 0, 0], { op: 1, target: [10, 0, 2, 50] })],
    ["a DHCP client's question", ip4(udp(68, 67), { src: [0, 0, 0, 0] })],
    ["a DHCP client's renewal", ip4(udp(68, 67))],
    ["a group's report from nobody", ip4([0x22, ...new Array(7).fill(0)], { src: [0, 0, 0, 0], proto: 2 })],
    ["a later fragment", ip4(udp(67, 68), { fragment: 100 })],
    ["TCP", ip4([0, 67, 0, 68], { proto: 6 })],
    ["a ping", ip4(icmp(8, [8, 8, 8, 8]), { proto: 1 })],
    ["an ICMP error about a packet to itself", ip4(icmp(3, GUEST), { proto: 1 })],
    ["a neighbour solicitation", ip6(58, [...icmp6(135, V6_GATEWAY), ...mac(1, A)])],
    ["duplicate detection", ip6(58, icmp6(135, V6_PEER), NOBODY)],
    ["a router solicitation from nobody", ip6(58, [133, ...new Array(7).fill(0)], NOBODY)],
    ["a neighbour advertisement for its own", ip6(58, [...icmp6(136), ...mac(2, A)])],
    ["a neighbour solicitation for another's address", ip6(58, icmp6(135, ANOTHERS))],
    ["a multicast listener report", ip6(0, [...options(58), ...icmp6(143)], NOBODY)],
    ["a DHCPv6 client's question", ip6(17, udp(546, 547))],
    ["a later IPv6 fragment", ip6(44, [...fragment(58, 80), ...icmp6(134)])],
    ["an ICMPv6 error about a packet to itself", ip6(58, error6(1, V6_OTHER))],
    ["another protocol over IPv6", ip6(132, new Array(12).fill(0))],
  ];
  const rewraps: readonly (readonly [string, (frame: Uint8Array) => Uint8Array])[] = [
    ["", (frame) => frame],
    [" in a priority tag", (frame) => tagged(frame, [0])],
    [" in a VLAN", (frame) => tagged(frame, [7])],
    [" in a provider's tag", (frame) => tagged(frame, [0, 0x88a8])],
    [" in two tags", (frame) => tagged(frame, [0, 0x88a8], [0])],
    [" in four tags", (frame) => tagged(frame, [0], [0], [0], [0])],
  ];
  const wraps = (frames: typeof bad) =>
    rewraps.flatMap(([how, wrap]) => frames.map(([what, frame]) => [what + how, wrap(frame)] as const));

  it.each(wraps(bad))("%s", (_, frame) => {
    const { cables, got, drops, inner } = rig(2);
    cables[0]!.send(frame);
    expect(got[1]).toHaveLength(0);
    expect(drops.counts.policy).toBe(1);
    // The stack sees it and judges for itself.
    expect(inner.frames).toHaveLength(1);
  });

  it.each(wraps(good))("but %s it may", (_, frame) => {
    const { cables, got } = rig(2);
    cables[0]!.send(frame);
    expectFrames(got[1]!, [frame]);
  });

  it.each<readonly [string, Uint8Array]>([
    ["IEEE 802.2 with IPv4 by SNAP", snap(ip4(udp(9)))],
    ["IEEE 802.2 with ARP by SNAP", snap(arp([10, 0, 2, 2]))],
    ["IEEE 802.2 in a tag", tagged(snap(ip4(udp(9))), [0])],
    ["five tags", tagged(ip4(udp(9)), [0], [0], [0], [0], [0])],
    ["a tag and nothing in it", tagged(ip4(udp(9)), [0]).slice(0, 16)],
    ["IPv4 in an old provider's tag", tagged(ip4(udp(9)), [0, 0x9100])],
    ...[0x8847, 0x8863, 0x8864, 0x888e, 0x88cc, 0x88e5, 0x8906, 0x88a2, 0x9000, 0x88b5, 0x0842, 0x8035, 0x6558].map(
      (type) => [`type 0x${type.toString(16)}`, eth(ALL, A, DATAGRAM, type)] as const,
    ),
  ])("%s does not pass between guests", (_, frame) => {
    const { cables, got, drops } = rig(2);
    cables[0]!.send(frame);
    expect(got[1]).toHaveLength(0);
    expect(drops.counts.policy).toBe(1);
  });

  it("by an uplink other protocols, routers' packets and repeated ARP come, and no lies about guests and the gateway", () => {
    const { cables, got, plugUplink } = rig(1);
    plugUplink();
    const pass = [
      eth(ALL, A, DATAGRAM, 0x88b5),
      ip4(udp(53), { src: [8, 8, 8, 8] }),
      ip4(icmp(3, [8, 8, 8, 8]), { proto: 1 }),
      arp([192, 0, 2, 9], { mac: C }),
      ip6(6, new Array(20).fill(0), WORLD6),
    ];
    cables[1]!.send(...pass);
    expectFrames(got[0]!, pass);
    cables[1]!.send(
      snap(arp([10, 0, 2, 2])),
      ...wraps([
        ["", arp([10, 0, 2, 2])],
        ["", arp([10, 0, 2, 99])],
        ["", ip6(58, icmp6(134))],
      ]).map(([, frame]) => frame),
    );
    expect(got[0]).toHaveLength(pass.length);
  });
});
