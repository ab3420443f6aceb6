/** A guest that poses as others, on one LAN with two that do not: nothing of it reaches them, and all goes on as before. */
import { describe, expect, test } from "vitest";
import { LanGuard } from "../../src/attach/guard.ts";
import { cable, type MemoryCable } from "../../src/attach/memory.ts";
import { Switch } from "../../src/attach/switch.ts";
import { dhcp } from "../../src/cli/guest/dhcp.ts";
import { Guest } from "../../src/cli/guest/guest.ts";
import { resolveOptions } from "../../src/control/options.ts";
import { ipv4FromText } from "../../src/core/address.ts";
import type { Link, LinkReceiver } from "../../src/core/link.ts";
import { NO_TAP } from "../../src/core/tap.ts";
import type { NetworkOptions } from "../../src/index.ts";
import { GATEWAY_MAC6, gatewayMac } from "../../src/stack/gateway-mac.ts";
import { Stack } from "../../src/stack.ts";
import { macToString } from "../../src/wire/ethernet.ts";
import { ipv4ToString } from "../../src/wire/ipv4.ts";
import { Drops } from "../attach/recorder.ts";
import { ManualClock } from "../support/clock.ts";
import { FakeHost } from "../support/fake-host.ts";
import { decodeFrame, encodeFrame, type FrameSpec } from "../support/frames.ts";
import { SeededRandom } from "../support/random.ts";

const ALL = "ff:ff:ff:ff:ff:ff";
const ALL_NODES = "33:33:00:00:00:01";

interface Plugged {
  readonly guest: Guest;
  readonly cable: MemoryCable;
  readonly mac: string;
  /** Frames that have come, those of our router's advertisements left out. */
  readonly got: Uint8Array[];
}

function lan(options: NetworkOptions = {}) {
  const clock = new ManualClock(1_000);
  const trace = new Drops();
  const { stack: config, rules } = resolveOptions({ mtu: 1500, ...options });
  const random = new SeededRandom(1);
  const dns = { query() {}, close() {} };
  const host = new FakeHost();
  const stack = new Stack(config, { host, dns, clock, trace, rules, random });
  const bridge = new Switch({
    inner: stack,
    clock,
    trace,
    gatewayMacs: [gatewayMac(config), GATEWAY_MAC6],
    guard: new LanGuard(stack.ownership),
    tap: NO_TAP,
    probe: (link, mac) => stack.probe(link, mac),
  });
  /** A guest with the MAC 52:54:00:00:00:LAST on a cable of its own, which may not notice its end. */
  const plug = (last: number, endless = false): Plugged => {
    const receiver: LinkReceiver = {
      attached: (link: Link) => bridge.attached(Object.assign(link, { endless })),
      receive: (...args) => bridge.receive(...args),
      batchEnd: (link) => bridge.batchEnd(link),
      writable: (link) => bridge.writable(link),
      detached: (link) => bridge.detached(link),
    };
    const end = cable(receiver);
    const mac = Uint8Array.of(0x52, 0x54, 0, 0, 0, last);
    const guest = new Guest({ cable: end, mac, clock, random });
    const got: Uint8Array[] = [];
    const toGuest = end.onFrame!;
    end.onFrame = (frame) => {
      if (frame[12] !== 0x86 || decodeFrame(frame).icmp6?.type !== 134) got.push(frame);
      toGuest(frame);
    };
    return { guest, cable: end, mac: macToString(mac), got };
  };
  const join = async (last: number, endless = false): Promise<Plugged> => {
    const plugged = plug(last, endless);
    await dhcp(plugged.guest);
    return plugged;
  };
  return { clock, trace, stack, host, plug, join };
}

async function reaches(from: Plugged, ip: number): Promise<void> {
  expect(await from.guest.ping(ip)).toBeGreaterThanOrEqual(0);
}

describe("what a guest says in another's name", () => {
  const VICTIM = "10.0.2.15";
  const WITNESS = "10.0.2.16";
  const VICTIM6 = "fec0::5054:ff:fe00:1";
  const from = "52:54:00:00:00:03";
  const to = "52:54:00:00:00:02";
  const spoofs: readonly [string, FrameSpec][] = [
    [
      "ARP's answer to all",
      { eth: { dst: ALL }, arp: { op: "reply", senderMac: from, senderIp: VICTIM, targetIp: WITNESS } },
    ],
    [
      "ARP's answer to one",
      { eth: { dst: to }, arp: { op: "reply", senderMac: from, senderIp: VICTIM, targetIp: WITNESS } },
    ],
    [
      "ARP's question",
      { eth: { dst: ALL }, arp: { op: "request", senderMac: from, senderIp: VICTIM, targetIp: WITNESS } },
    ],
    [
      "a gratuitous ARP",
      { eth: { dst: ALL }, arp: { op: "request", senderMac: from, senderIp: VICTIM, targetIp: VICTIM } },
    ],
    [
      "ARP with another card's MAC inside",
      {
        eth: { dst: to },
        arp: { op: "reply", senderIp: VICTIM, senderMac: "02:00:00:00:00:09", targetIp: WITNESS },
      },
    ],
    [
      "ARP for the gateway",
      { eth: { dst: ALL }, arp: { op: "reply", senderMac: from, senderIp: "10.0.2.2", targetIp: WITNESS } },
    ],
    ["a datagram", { eth: { dst: to }, ip: { src: VICTIM, dst: WITNESS }, udp: { srcPort: 9, dstPort: 9 } }],
    [
      "a datagram from the gateway",
      { eth: { dst: to }, ip: { src: "10.0.2.2", dst: WITNESS }, udp: { srcPort: 9, dstPort: 9 } },
    ],
    [
      "a frame from the other's MAC",
      {
        eth: { dst: to, src: "52:54:00:00:00:01" },
        ip: { src: VICTIM, dst: WITNESS },
        udp: { srcPort: 9, dstPort: 9 },
      },
    ],
    [
      "a DHCP server's answer",
      { eth: { dst: ALL }, ip: { src: "10.0.2.17", dst: "255.255.255.255" }, udp: { srcPort: 67, dstPort: 68 } },
    ],
    [
      "a neighbour advertisement",
      {
        eth: { dst: ALL_NODES },
        ip6: { src: "fe80::3", dst: "ff02::1" },
        ndp: { kind: "na", target: VICTIM6, options: { targetMac: from } },
      },
    ],
    [
      "a router advertisement",
      { eth: { dst: ALL_NODES }, ip6: { src: "fe80::3", dst: "ff02::1" }, ndp: { kind: "ra" } },
    ],
    [
      "an IPv6 datagram",
      { eth: { dst: to }, ip6: { src: VICTIM6, dst: "fec0::5054:ff:fe00:2" }, udp: { srcPort: 9, dstPort: 9 } },
    ],
  ];

  test.each(spoofs)("%s reaches nobody, and they reach each other and the gateway", async (_, spoof) => {
    const { join, trace, stack } = lan();
    const victim = await join(1);
    const witness = await join(2);
    const spoofer = await join(3);
    // The victim uses IPv6 as well.
    victim.cable.send(
      encodeFrame({
        eth: { src: victim.mac, dst: "33:33:ff:00:00:02" },
        ip6: { src: VICTIM6, dst: "ff02::1:ff00:2" },
        ndp: { kind: "ns", target: "fec0::2", options: { sourceMac: victim.mac } },
      }),
    );
    await reaches(witness, victim.guest.ip);
    for (const { got } of [victim, witness]) got.length = 0;
    const before = trace.counts.policy + trace.counts["mac-spoofed"];
    for (let i = 0; i < 3; i++) spoofer.cable.send(encodeFrame({ ...spoof, eth: { src: from, ...spoof.eth } }));
    expect([...victim.got, ...witness.got]).toEqual([]);
    expect(trace.counts.policy + trace.counts["mac-spoofed"]).toBe(before + 3);
    await reaches(witness, victim.guest.ip);
    await reaches(victim, witness.guest.ip);
    for (const each of [victim, witness]) await reaches(each, ipv4FromText("10.0.2.2"));
    expect(stack.leases().map(({ ip, mac }) => [ip, mac])).toEqual([
      [VICTIM, victim.mac],
      [WITNESS, witness.mac],
      ["10.0.2.17", spoofer.mac],
    ]);
    // Its own address is its to use.
    await reaches(spoofer, witness.guest.ip);
  });

  test("an address without a lease is whose it was heard first, until that cable is gone", async () => {
    const { plug, trace } = lan();
    const [first, second, witness] = [plug(1), plug(2), plug(3)];
    const claim = (by: Plugged) => {
      witness.got.length = 0;
      by.cable.send(
        encodeFrame({
          eth: { src: by.mac, dst: ALL },
          arp: { op: "request", senderMac: by.mac, senderIp: "10.0.2.77", targetIp: "10.0.2.78" },
        }),
      );
      return witness.got.length === 1;
    };
    expect([claim(first), claim(second), claim(first)]).toEqual([true, false, true]);
    expect(trace.counts["arp-spoofed"]).toBe(1);
    first.cable.close();
    expect(claim(second)).toBe(true);
  });
});

describe("a guest that claims every free address in ARP", () => {
  function claims(by: Plugged, last: number): void {
    by.cable.send(
      encodeFrame({
        eth: { src: by.mac, dst: ALL },
        arp: { op: "request", senderMac: by.mac, senderIp: `10.0.2.${last}`, targetIp: "10.0.2.2" },
      }),
    );
  }

  test("has four set aside at most: whoever comes later gets a lease, its address, and is reached by it", async () => {
    const { join, plug, stack } = lan();
    const witness = await join(1);
    const hostile = plug(66);
    for (let round = 0; round < 3; round++) for (let last = 16; last < 31; last++) claims(hostile, last);
    const later: Plugged[] = [];
    for (let i = 2; i <= 12; i++) later.push(await join(i));
    expect(stack.leases()).toHaveLength(12);
    for (const guest of later) await reaches(witness, guest.guest.ip);
    // And by no further claim does it take one back.
    for (let last = 15; last < 31; last++) claims(hostile, last);
    for (const guest of later) {
      await reaches(guest, ipv4FromText("10.0.2.2"));
      await reaches(witness, guest.guest.ip);
    }
  });

  test("has as many set aside as it may", async () => {
    const { join, plug } = lan({ limits: { claimsPerGuest: 1 } });
    const settled = plug(66);
    for (const last of [15, 16, 17, 18]) claims(settled, last);
    // The last of them is; the others are up for lease again.
    const given = [];
    for (let i = 1; i <= 15; i++) given.push(ipv4ToString((await join(i)).guest.ip));
    expect(given).not.toContain("10.0.2.18");
    expect(given).toContain("10.0.2.15");
  });

  test("a few addresses of one cable stay set aside for those who use them without a lease", async () => {
    const { join, plug } = lan();
    const settled = plug(66);
    for (const last of [15, 16, 17, 18]) claims(settled, last);
    expect(ipv4ToString((await join(1)).guest.ip)).toBe("10.0.2.19");
  });
});

describe("a guest whose cable does not notice its end", () => {
  test("has its lease again on another cable, once the old one has not answered for it", async () => {
    const { join, plug, clock, trace } = lan();
    const old = await join(1, true);
    const other = await join(2);
    old.cable.onFrame = (frame) => old.got.push(frame);
    clock.advance(31_000);
    const moved = plug(1);
    old.got.length = 0;
    const lease = dhcp(moved.guest);
    expect(trace.counts["mac-spoofed"]).toBe(1);
    // Who is at the old place is asked for the address that it had.
    expect(decodeFrame(old.got[0]!)).toMatchObject({ arp: { op: "request", targetIp: "10.0.2.15" } });
    for (let i = 0; i < 4; i++) {
      clock.advance(1_000);
      moved.guest.poll(clock.now());
    }
    expect(await lease).toMatchObject({ ip: "10.0.2.15" });
    await reaches(other, moved.guest.ip);
    await reaches(moved, ipv4FromText("10.0.2.2"));
  });

  test("is not robbed of its address while it answers, however long it has been silent", async () => {
    const { join, plug, clock, trace } = lan();
    const idle = await join(1, true);
    const other = await join(2);
    clock.advance(31_000);
    const thief = plug(1);
    void dhcp(thief.guest).catch(() => {});
    for (let i = 0; i < 20; i++) {
      clock.advance(1_000);
      thief.guest.poll(clock.now());
      // What comes in answer to an answer comes in a microtask.
      await Promise.resolve();
    }
    expect(thief.guest.ip).toBe(0);
    expect(trace.counts["mac-spoofed"]).toBeGreaterThan(2);
    await reaches(other, idle.guest.ip);
  });
});
