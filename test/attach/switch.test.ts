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

/** An Ethernet frame of some local protocol, or of `type` with a payload. */
function eth(dst: number[], src: number[], payload: readonly number[] = [1, 2, 3], type = 0x88b5): Uint8Array {
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

  it("does not let one guest take another's address, unless that has aged or its cable is gone", () => {
    const { inner, cables, got, drops, time } = rig(3);
    cables[0]!.send(eth(GATEWAY, A));
    cables[1]!.send(eth(GATEWAY, A));
    expect(drops.counts["mac-spoofed"]).toBe(1);
    expect(inner.frames).toHaveLength(1);
    time.now += 300_001;
    cables[1]!.send(eth(GATEWAY, A));
    cables[2]!.send(eth(A, C));
    expect(got[1]).toHaveLength(1);
    expect(got[0]).toHaveLength(0);
    cables[1]!.close();
    cables[0]!.send(eth(GATEWAY, A));
    expect(inner.frames).toHaveLength(3);
  });

  it("knows the first guest's address when the second comes, however late", () => {
    const { cables, drops, time, plug } = rig(1);
    cables[0]!.send(eth(ALL, A));
    time.now += 1e9;
    plug();
    cables[1]!.send(eth(GATEWAY, A));
    expect(drops.counts["mac-spoofed"]).toBe(1);
  });

  it("forgets after five minutes of silence", () => {
    const { cables, got, time } = rig(3);
    cables[1]!.send(eth(GATEWAY, B));
    time.now += 300_000;
    cables[0]!.send(eth(B, A));
    expect(got[2]).toHaveLength(0);
    time.now += 1;
    cables[0]!.send(eth(B, A));
    expect(got[2]).toHaveLength(1);
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
    cables[1]!.send(eth([2, 9, 9, 2, 0, 0], [2, 9, 9, 1, 0, 0]));
    expect(got[2]).toHaveLength(1);
    cables[0]!.close();
    speak(2, 0);
    expect(lan.size).toBe(3);
    expect(drops.counts["macs-full"]).toBe(3);
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

  it("no guest takes the address of a machine of the segment, until that has been silent for five minutes", () => {
    const { cables, drops, time } = joined();
    cables[2]!.send(eth(ALL, FAR));
    time.now += 300_000;
    cables[0]!.send(eth(ALL, FAR));
    expect(drops.counts["mac-spoofed"]).toBe(1);
    time.now += 1;
    cables[0]!.send(eth(ALL, FAR));
    expect(drops.counts["mac-spoofed"]).toBe(1);
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

  it("waits for the address to age where nothing can be asked, and behind a cable that notices", () => {
    const { time, passes, answers } = moving();
    answers.probes = false;
    time.now += 299_000;
    for (let i = 0; i < 3; i++) expect(passes()).toBe(false);
    time.now += 2_000;
    expect(passes()).toBe(true);
    const noticing = rig(2);
    noticing.cables[0]!.send(eth(GATEWAY, A));
    noticing.time.now += 299_000;
    noticing.cables[1]!.send(eth(GATEWAY, A));
    expect(noticing.probed).toHaveLength(0);
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
  const ANOTHERS = [...V6_GATEWAY.slice(0, 14), 0x99, 0x99];
  const arp = (ip: number[]) => eth(ALL, A, [0, 1, 8, 0, 6, 4, 0, 2, ...A, ...ip, ...B, 10, 0, 2, 16], 0x0806);
  const ip4 = (payload: number[], { src = [10, 0, 2, 15], proto = 17, fragment = 0, ihl = 5 } = {}) =>
    eth(
      ALL,
      A,
      [0x40 | ihl, 0, 0, 0, 0, 0, fragment >> 8, fragment & 255, 64, proto, 0, 0, ...src, 255, 255, 255, 255].concat(
        new Array((ihl - 5) * 4).fill(1),
        payload,
      ),
      0x0800,
    );
  const udp = (srcPort: number) => [srcPort >> 8, srcPort & 255, 0, 68, 0, 8, 0, 0];
  const ip6 = (next: number, payload: number[], src: Iterable<number> = V6_OTHER) =>
    eth(
      ALL,
      A,
      [0x60, 0, 0, 0, 0, payload.length, next, 255, ...src, 0xff, 2, ...new Array(13).fill(0), 1, ...payload],
      0x86dd,
    );
  const icmp6 = (type: number, target: Iterable<number> = V6_OTHER) => [type, 0, 0, 0, 0, 0, 0, 0, ...target];
  const options = (next: number, len8 = 0) => [next, len8, ...new Array(6 + 8 * len8).fill(0)];
  const fragment = (next: number, offset = 0) => [next, 0, offset >> 8, offset & 255, 0, 0, 0, 1];

  it.each([
    ["ARP for the gateway's address", arp([10, 0, 2, 2])],
    ["ARP for the DNS server's", arp([10, 0, 2, 3])],
    ["IPv4 from the gateway's address", ip4(udp(5000), { src: [10, 0, 2, 2] })],
    ["a DHCP server's answer", ip4(udp(67))],
    ["the same behind IP options", ip4(udp(67), { ihl: 15 })],
    ["UDP whose ports are cut off", ip4(udp(67).slice(0, 1))],
    ["a router advertisement", ip6(58, icmp6(134))],
    ["a redirect", ip6(58, icmp6(137))],
    ["the same behind extension headers", ip6(0, [...options(60, 2), ...options(58), ...icmp6(134)])],
    ["the same in a first fragment", ip6(44, [...fragment(58), ...icmp6(134)])],
    ["a header chain that is cut off", ip6(44, [...fragment(60)])],
    [
      "a chain without end",
      ip6(
        60,
        new Array(40).fill(0).flatMap(() => options(60)),
      ),
    ],
    ["a DHCPv6 server's answer", ip6(17, udp(547))],
    ["a neighbour advertisement for the gateway's address", ip6(58, icmp6(136, V6_GATEWAY))],
    ["IPv6 from the gateway's address", ip6(58, icmp6(128), V6_GATEWAY)],
    ["ARP for another guest's address", arp([10, 0, 2, 99])],
    ["IPv4 from another guest's address", ip4([0, 67, 0, 80], { src: [10, 0, 2, 99], proto: 6 })],
    ["a neighbour advertisement for another guest's address", ip6(58, icmp6(136, ANOTHERS))],
    ["IPv6 from another guest's address", ip6(58, icmp6(128), ANOTHERS)],
  ])("%s", (_, bad) => {
    const { cables, got, drops, inner } = rig(2);
    cables[0]!.send(bad);
    expect(got[1]).toHaveLength(0);
    expect(drops.counts.policy).toBe(1);
    // The stack sees it and judges for itself.
    expect(inner.frames).toHaveLength(1);
  });

  it.each([
    ["ARP for its own", arp([10, 0, 2, 15])],
    ["a DHCP client's question", ip4(udp(68))],
    ["a later fragment", ip4(udp(67), { fragment: 100 })],
    ["TCP", ip4([0, 67, 0, 80], { proto: 6 })],
    ["a neighbour solicitation", ip6(58, icmp6(135, V6_GATEWAY))],
    ["a neighbour advertisement for its own", ip6(58, icmp6(136))],
    ["a neighbour solicitation for another's address", ip6(58, icmp6(135, ANOTHERS))],
    ["a multicast listener report", ip6(0, [...options(58), ...icmp6(143)])],
    ["a later IPv6 fragment", ip6(44, [...fragment(58, 80), ...icmp6(134)])],
  ])("but %s it may", (_, good) => {
    const { cables, got } = rig(2);
    cables[0]!.send(good);
    expectFrames(got[1]!, [good]);
  });
});
