/**
 * Caps that guests fill, each set by its option. What one guest may have: it is counted, the others are served meanwhile,
 * and so is the guest itself when its fill is gone. What all may have: it is counted, and all are served afterwards.
 */
import { describe, expect, test } from "vitest";
import type { LimitsOptions } from "../../src/control/options/limits-options.ts";
import type { Limits } from "../../src/core/limits.ts";
import type { DropReason } from "../../src/core/trace.ts";
import { answer, query } from "../support/dns.ts";
import { FakeFiles } from "../support/fake-files.ts";
import type { FrameSpec } from "../support/frames.ts";
import { ScriptGuest } from "../support/guests.ts";
import { FAR_IP, PacketScript } from "../support/packet-script.ts";

const DNS_A = 1;
const ECHO_PORT = 7;
const FILES = new FakeFiles();
FILES.put("f", "hello");

interface World {
  readonly script: PacketScript;
  readonly a: ScriptGuest;
  readonly b: ScriptGuest;
}

interface Cap {
  readonly all: keyof Limits;
  readonly each: keyof Limits;
  readonly unit?: number;
  readonly reason: DropReason;
  /** The i-th thing of a guest's that stays. */
  readonly fill: (world: World, guest: ScriptGuest, i: number) => void;
  /** Whether an ordinary guest is served. */
  readonly serves: (world: World, guest: ScriptGuest, i: number) => boolean;
  /** What ends a fill: time, or the host's giving up. */
  readonly gone: (world: World) => void;
}

const udp = (srcPort: number): FrameSpec => ({
  udp: { srcPort, dstPort: ECHO_PORT },
  payload: "x",
  ip: { dst: FAR_IP },
});
const ping = (id: number): FrameSpec => ({ icmp: { type: 8, id, seq: 1 }, payload: "x", ip: { dst: FAR_IP } });
const syn = (srcPort: number): FrameSpec => ({ tcp: { flags: "SYN", srcPort, dstPort: 80 }, ip: { dst: FAR_IP } });
const ask = (srcPort: number): FrameSpec => ({
  ...{ ip: { dst: "10.0.2.3" }, udp: { srcPort, dstPort: 53 } },
  payload: query("a.test", DNS_A, srcPort),
});
const rrq = (srcPort: number): FrameSpec => ({
  ...{ ip: { dst: "10.0.2.2" }, udp: { srcPort, dstPort: 69 } },
  payload: "\0\x01f\0octet\0",
});
/** Half of a UDP datagram of 1416 bytes to the echo port. */
const half = (id: number, first: boolean): FrameSpec => {
  const datagram = new Uint8Array(1_424);
  datagram.set([0x20, 0, 0, ECHO_PORT, 1_424 >> 8, 1_424 & 255, 0, 0]);
  const offset = first ? 0 : 712;
  return {
    ip: { dst: FAR_IP, proto: 17, id, df: false, mf: first, offset },
    payload: datagram.subarray(offset, offset + 712),
  };
};

/** Connects, and leaves the connection open. */
function connects({ script }: World, guest: ScriptGuest, srcPort: number): boolean {
  guest.takeAll();
  script.host.answer = () => "accept";
  guest.send(syn(srcPort));
  const reply = guest.takeAll()[0]?.tcp;
  if (reply?.flags !== "SYN ACK") return false;
  guest.send({ ip: { dst: FAR_IP }, tcp: { flags: "ACK", srcPort, dstPort: 80, seq: 1, ack: (reply.seq + 1) >>> 0 } });
  return true;
}

function echoes({ script }: World, send: () => void): boolean {
  const far = script.host.udpFar({ host: FAR_IP, port: ECHO_PORT });
  const heard = far.received.length;
  send();
  return far.received.length === heard + 1;
}

const CAPS: readonly Cap[] = [
  {
    ...{ all: "halfOpen", each: "halfOpenPerGuest", reason: "half-open-full" },
    fill({ script }, guest, i) {
      script.host.answer = () => "hang";
      guest.send(syn(2_000 + i));
    },
    serves: (world, guest, i) => connects(world, guest, 5_000 + i),
    gone({ script }) {
      for (const far of script.host.dialled) far.giveUp();
    },
  },
  {
    ...{ all: "tcpFlows", each: "tcpFlowsPerGuest", reason: "flow-table-full" },
    fill: (world, guest, i) => void connects(world, guest, 2_000 + i),
    serves: (world, guest, i) => connects(world, guest, 5_000 + i),
    gone({ script }) {
      for (const far of script.host.dialled) far.reset();
    },
  },
  {
    ...{ all: "udpFlows", each: "udpFlowsPerGuest", reason: "udp-table-full" },
    fill: (_, guest, i) => guest.send(udp(2_000 + i)),
    serves: (world, guest, i) => echoes(world, () => guest.send(udp(5_000 + i))),
    gone: ({ script }) => script.advance(200_000),
  },
  {
    ...{ all: "icmpFlows", each: "icmpFlowsPerGuest", reason: "icmp-table-full" },
    fill({ script }, guest, i) {
      script.host.answerPing = () => "silence";
      guest.send(ping(2_000 + i));
    },
    serves({ script }, guest, i) {
      guest.takeAll();
      script.host.answerPing = () => "answer";
      guest.send(ping(5_000 + i));
      return guest.takeAll()[0]?.icmp?.type === 0;
    },
    gone: ({ script }) => script.advance(100_000),
  },
  {
    ...{ all: "dnsInFlight", each: "dnsInFlightPerGuest", reason: "dns-busy" },
    fill: (_, guest, i) => guest.send(ask(2_000 + i)),
    serves({ script }, guest, i) {
      guest.takeAll();
      const before = script.queries.length;
      guest.send(ask(5_000 + i));
      for (const asked of script.queries.splice(before)) asked.answer(answer(asked.query));
      return guest.takeAll()[0]?.udp?.srcPort === 53;
    },
    gone({ script }) {
      for (const asked of script.queries.splice(0)) asked.answer(null);
    },
  },
  {
    ...{ all: "tftpSessions", each: "tftpSessionsPerGuest", reason: "tftp-busy" },
    fill(_, guest, i) {
      guest.send(rrq(2_000 + i));
      FILES.run();
    },
    serves(_, guest, i) {
      guest.takeAll();
      guest.send(rrq(5_000 + i));
      FILES.run();
      return guest.takeAll().some((frame) => frame.udp?.srcPort === 69 && frame.payload[1] === 3);
    },
    gone: ({ script }) => script.advance(200_000),
  },
  {
    ...{ all: "reassemblies", each: "reassembliesPerGuest", reason: "reassembly-full" },
    fill: (_, guest, i) => guest.send(half(100 + i, true)),
    serves: completes,
    gone: ({ script }) => script.advance(61_000),
  },
  {
    ...{ all: "reassemblyBytes", each: "reassemblyBytesPerGuest", unit: 1_500, reason: "reassembly-full" },
    fill: (_, guest, i) => guest.send(half(100 + i, false)),
    serves: completes,
    gone: ({ script }) => script.advance(61_000),
  },
];

function completes(world: World, guest: ScriptGuest, i: number): boolean {
  return echoes(world, () => {
    guest.send(half(5_000 + i, true));
    guest.send(half(5_000 + i, false));
  });
}

function world(limits: LimitsOptions): World {
  const script = new PacketScript({ limits }, FILES);
  const [a, b] = [new ScriptGuest(script, 16), new ScriptGuest(script, 17)];
  for (const guest of [a, b]) guest.send({ arp: { senderMac: guest.mac, senderIp: guest.ip, targetIp: "10.0.2.2" } });
  return { script, a, b };
}

describe.each(CAPS)("$all", ({ all, each, unit = 1, reason, fill, serves, gone }) => {
  test(`one guest that fills ${each} takes nothing from another, and is served again afterwards`, () => {
    const w = world({ [all]: 8 * unit, [each]: 4 * unit });
    for (let i = 0; i < 4; i++) fill(w, w.a, i);
    expect(w.script.dropped(reason)).toBe(0);
    for (let i = 4; i < 12; i++) fill(w, w.a, i);
    expect(w.script.dropped(reason)).toBe(8);
    for (let i = 0; i < 3; i++) expect(serves(w, w.b, i)).toBe(true);
    expect(w.script.dropped(reason)).toBe(8);
    gone(w);
    expect(serves(w, w.a, 20)).toBe(true);
    expect(w.script.dropped(reason)).toBe(8);
  });

  test(`filled by two guests up to ${all}: one more is counted, and both are served afterwards`, () => {
    const w = world({ [all]: 8 * unit, [each]: 6 * unit });
    for (let i = 0; i < 6; i++) fill(w, w.a, i);
    for (let i = 0; i < 2; i++) fill(w, w.b, i);
    expect(w.script.dropped(reason)).toBe(0);
    for (let i = 2; i < 6; i++) fill(w, w.b, i);
    expect(w.script.dropped(reason)).toBe(4);
    gone(w);
    for (let i = 0; i < 3; i++) {
      expect(serves(w, w.a, 20 + i)).toBe(true);
      expect(serves(w, w.b, 20 + i)).toBe(true);
    }
    expect(w.script.dropped(reason)).toBe(4);
  });
});
