/** More of everything than there is room for: the caps hold, what is too much is counted, and all are served afterwards. */
import { describe, expect, test } from "vitest";
import type { DropReason } from "../../src/core/trace.ts";
import { proves } from "../cases/proves.ts";
import { DISCOVER, guestMac, message, REQUEST } from "../proto/dhcp-script.ts";
import { answer, query } from "../support/dns.ts";
import { FakeFiles } from "../support/fake-files.ts";
import type { FrameSpec } from "../support/frames.ts";
import { heldMegabytes } from "../support/held-memory.ts";
import { FAR_IP, GUEST_IP, GUEST_MAC, PacketScript } from "../support/packet-script.ts";
import { attack } from "./attack.ts";

const DNS_A = 1;
const FILES = new FakeFiles();
FILES.put("f", "hello");

function dhcp(type: number, client: number): FrameSpec {
  const mac = guestMac(client);
  const payload = message({
    type,
    mac,
    ...(type === REQUEST && { requestedIp: `10.0.2.${15 + (client % 16)}`, serverId: "10.0.2.2" }),
  });
  const ip = { src: "0.0.0.0", dst: "255.255.255.255" };
  return { eth: { src: mac, dst: "ff:ff:ff:ff:ff:ff" }, ip, udp: { srcPort: 68, dstPort: 67 }, payload };
}

function dnsQuery(id: number, srcPort = 5_000): FrameSpec {
  return { ip: { dst: "10.0.2.3" }, udp: { srcPort, dstPort: 53 }, payload: query("a.test", DNS_A, id) };
}

const rrq = (srcPort: number): FrameSpec => ({
  ip: { dst: "10.0.2.2" },
  udp: { srcPort, dstPort: 69 },
  payload: "\0\x01f\0octet\0",
});

/** Every service, once more; DHCP only where addresses are left. */
function serves(script: PacketScript, { lease = true } = {}): void {
  script.host.answer = () => "accept";
  script.host.answerPing = () => "answer";
  script.takeAll();
  const tcp = script.tcp({ srcPort: 60_001, dstPort: 81 });
  tcp.establish();
  tcp.send({ flags: "ACK", seq: 1, ack: 1 }, "hello");
  tcp.expect({ ack: 6 });
  expect(script.host.dialled.at(-1)!.text).toBe("hello");
  const echo = script.host.udpFar({ host: FAR_IP, port: 7 });
  const heard = echo.received.length;
  script.send({ ip: {}, udp: { srcPort: 60_001, dstPort: 7 }, payload: "hello" });
  expect(echo.received.length).toBe(heard + 1);
  script.takeAll();
  script.send({ ip: {}, icmp: { type: 8, id: 60_001 }, payload: "ping" });
  script.expect({ ip: { src: FAR_IP }, icmp: { type: 0 }, payload: "ping" });
  script.send(dnsQuery(77, 60_002));
  const asked = script.queries.at(-1)!;
  asked.answer(answer(asked.query));
  script.expect({ udp: { srcPort: 53, dstPort: 60_002 } });
  script.send(rrq(60_003));
  FILES.run();
  script.expect({ udp: { srcPort: 69, dstPort: 60_003 }, payload: "\0\x03\0\x01hello" });
  script.send({ ip: { dst: "10.0.2.2" }, udp: { srcPort: 60_003, dstPort: 69 }, payload: "\0\x04\0\x01" });
  if (!lease) return;
  script.send(dhcp(DISCOVER, 999));
  script.expect({ udp: { srcPort: 67, dstPort: 68 } });
}

/** The guest takes the first address as its own. */
function acquire(script: PacketScript): void {
  const ip = { src: "0.0.0.0", dst: "255.255.255.255" };
  const eth = { src: GUEST_MAC, dst: "ff:ff:ff:ff:ff:ff" };
  for (const type of [DISCOVER, REQUEST]) {
    const payload = message({
      type,
      mac: GUEST_MAC,
      ...(type === REQUEST && { requestedIp: GUEST_IP, serverId: "10.0.2.2" }),
    });
    script.send({ eth, ip, udp: { srcPort: 68, dstPort: 67 }, payload });
    script.expect({ udp: { srcPort: 67, dstPort: 68 } });
  }
}

/** The far ends of the fake host's are no part of what is measured. */
function forgetWorld(script: PacketScript): void {
  script.host.dialled.length = 0;
  script.host.pings.length = 0;
}

interface Flood {
  readonly name: string;
  /** What the world does meanwhile. */
  readonly world?: (script: PacketScript) => void;
  readonly frame: (i: number) => FrameSpec;
  readonly count: number;
  readonly reason: DropReason;
  /** Pause until all of it is gone, in ms. */
  readonly pause: number;
  readonly megabytes?: number;
  readonly lease?: boolean;
}

const SILENT = (script: PacketScript): void => {
  script.host.answer = () => "hang";
  script.host.answerUdp = () => null;
  script.host.answerPing = () => "silence";
};

const FLOODS: readonly Flood[] = [
  {
    name: "3000 SYNs to who never answers",
    world: SILENT,
    frame: (i) => ({ ip: {}, tcp: { flags: "SYN", srcPort: 1_024 + i, dstPort: 80, seq: i } }),
    ...{ count: 3_000, reason: "half-open-full", pause: 0, megabytes: 24 },
  },
  {
    name: "18000 SYNs of which 768 may wait",
    world: SILENT,
    frame: (i) => ({ ip: {}, tcp: { flags: "SYN", srcPort: 1_024 + i, dstPort: 80, seq: i } }),
    ...{ count: 18_000, reason: "half-open-full", pause: 300_000, megabytes: 24 },
  },
  {
    name: "6000 UDP ports of which a guest may have 3072",
    world: SILENT,
    frame: (i) => ({ ip: {}, udp: { srcPort: 1_024 + i, dstPort: 9 }, payload: "x" }),
    ...{ count: 6_000, reason: "udp-table-full", pause: 300_000, megabytes: 24 },
  },
  {
    name: "2000 echo identifiers of which a guest may have 64",
    world: SILENT,
    frame: (i) => ({ ip: {}, icmp: { type: 8, id: i, seq: 1 }, payload: "x" }),
    ...{ count: 2_000, reason: "icmp-table-full", pause: 300_000 },
  },
  {
    name: "300 DHCP clients for 16 addresses",
    frame: (i) => dhcp(DISCOVER, i),
    ...{ count: 300, reason: "dhcp-no-address", pause: 60_000 },
  },
  {
    name: "300 DHCP clients that take what they are offered",
    frame: (i) => dhcp(i % 2 === 0 ? DISCOVER : REQUEST, i >> 1),
    ...{ count: 600, reason: "dhcp-no-address", pause: 60_000, lease: false },
  },
  {
    name: "500 TFTP reads of which none is acknowledged",
    frame: (i) => {
      FILES.run();
      return rrq(2_000 + i);
    },
    ...{ count: 500, reason: "tftp-busy", pause: 120_000 },
  },
  {
    name: "1000 DNS queries that nobody answers",
    frame: (i) => dnsQuery(i, 2_000 + (i % 100)),
    ...{ count: 1_000, reason: "dns-busy", pause: 20_000 },
  },
  {
    name: "3000 ARP requests in the names of the net's own addresses",
    frame: (i) => ({ arp: { senderIp: `10.0.2.${i % 256}`, targetIp: "10.0.2.2" } }),
    ...{ count: 3_000, reason: "arp-spoofed", pause: 1_000, lease: false },
  },
];

describe("a flood", () => {
  test.each(FLOODS)(
    proves("bad.any.floods", "of $name: bounded, counted, and afterwards served like any other"),
    ({ world, frame, count, reason, pause, megabytes = 8, lease = true }) => {
      const script = new PacketScript({}, FILES);
      acquire(script);
      world?.(script);
      function* frames(): Iterable<FrameSpec> {
        for (let i = 0; i < count; i++) yield frame(i);
        forgetWorld(script);
      }
      attack(script, frames(), { megabytes });
      expect(script.dropped(reason)).toBeGreaterThan(0);
      // The host gives up what it was asked, in its time.
      for (const { answer: reply } of script.queries.splice(0)) reply(null);
      script.advance(pause);
      serves(script, { lease });
    },
  );

  test(
    proves("bad.any.bounded", "of everything at once: no turn is long, and when it is over nothing is left of it"),
    () => {
      const script = new PacketScript({}, FILES);
      acquire(script);
      SILENT(script);
      const before = heldMegabytes();
      let longest = 0;
      for (let i = 0; i < 500; i++) {
        for (const { frame } of FLOODS) {
          const spec = frame(i);
          const since = performance.now();
          script.send(spec);
          longest = Math.max(longest, performance.now() - since);
        }
      }
      script.takeAll();
      expect(longest).toBeLessThan(1_000);
      for (const { answer: reply } of script.queries.splice(0)) reply(null);
      for (const far of script.host.dialled) far.giveUp();
      script.advance(4 * 3_600_000);
      script.takeAll();
      expect(script.stack.gauges()).toEqual({
        ...{ tcpFlows: 0, udpFlows: 0, icmpFlows: 0, timers: 0 },
        ...{ sendBytes: 0, receiveBytes: 0, outOfOrderBytes: 0 },
      });
      expect(script.host.open).toBe(0);
      expect(FILES.openFiles).toBe(0);
      forgetWorld(script);
      expect(heldMegabytes() - before).toBeLessThan(4);
      serves(script, { lease: false });
    },
  );
});

test(
  proves("bad.any.lengths", "frames of 0, 1, 13, 14, 9000 and 65549 bytes, of every kind: none is answered or kept"),
  () => {
    const script = new PacketScript();
    function* frames(): Iterable<Uint8Array> {
      for (const type of [0x0800, 0x0806, 0x86dd, 0x88f8, 0x8100, 0x05dc, 0]) {
        for (const length of [0, 1, 13, 14, 15, 9_000, 65_549]) {
          const frame = new Uint8Array(length);
          frame.set([0x52, 0x55, 10, 0, 2, 2, 0x52, 0x54, 0, 0x12, 0x34, 0x56, type >> 8, type & 255].slice(0, length));
          yield frame;
        }
      }
    }
    expect(attack(script, frames())).toEqual([]);
    expect(script.dropped("eth-short")).toBe(2 * 7);
  },
);
