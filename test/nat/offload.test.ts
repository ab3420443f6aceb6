/** Frames that are not finished (checksums undone, segments to be cut later), both ways, between guests, and impaired. */
import { describe, expect, test } from "vitest";
import { LanGuard, NO_ADDRESSES } from "../../src/attach/guard.ts";
import { Impairment } from "../../src/attach/impairment.ts";
import { cable } from "../../src/attach/memory.ts";
import { Switch } from "../../src/attach/switch.ts";
import { CableTap } from "../../src/attach/tap.ts";
import { LEAST_SEGMENT, type LinkReceiver, SUM_UNDONE } from "../../src/core/link.ts";
import { SeededRandom } from "../../src/core/random.ts";
import { Drops, Recorder } from "../attach/recorder.ts";
import { dialled, SEGMENT } from "../proto/tcp/roles.ts";
import { decodeFrame, type FrameSpec } from "../support/frames.ts";
import { ALL, offloading, undoneFrame } from "../support/offload.ts";
import {
  FAR_IP,
  FAR_IP6,
  GATEWAY_MAC,
  GATEWAY_MAC6,
  GUEST_IP,
  GUEST_MAC,
  PacketScript,
} from "../support/packet-script.ts";

function bytes(n: number): Uint8Array {
  return Uint8Array.from({ length: n }, (_, i) => (i * 31 + (i >> 8) * 7) & 0xff);
}

/** Hands frames to a receiver as an attachment would, with what is undone. */
function receive(
  to: LinkReceiver,
  link: Parameters<LinkReceiver["receive"]>[0],
  undone: number,
  ...frames: Uint8Array[]
) {
  for (const frame of frames)
    to.receive(link, { bytes: frame, scarce: false, pin() {}, unpin() {} }, 0, frame.length, undone);
  to.batchEnd(link);
}

describe("from a guest whose card leaves things undone", () => {
  test("a segment of 60,000 bytes is delivered whole, its checksum unverified, and answered by one acknowledgement", () => {
    const { script, tcp, far } = dialled({ offload: ALL });
    const payload = bytes(60_000);
    const spec = tcp.frame({ flags: "ACK PSH", seq: 1, ack: 1 }, payload);
    receive(
      script.stack,
      script.cable.link,
      SEGMENT,
      undoneFrame({ eth: { src: GUEST_MAC, dst: GATEWAY_MAC }, ...spec }),
    );
    script.host.run();
    tcp.expect({ flags: "ACK", seq: 1, ack: 60_001 });
    expect(Buffer.from(far.received)).toEqual(Buffer.from(payload));
    script.expectNothing();
  });

  test("the same over IPv6", () => {
    const script = new PacketScript({}, null, false, null, ALL);
    const tcp = script.tcp({ dst: FAR_IP6 });
    tcp.establish();
    const spec = tcp.frame({ flags: "ACK", seq: 1, ack: 1 }, bytes(30_000));
    receive(
      script.stack,
      script.cable.link,
      1440,
      undoneFrame({ eth: { src: GUEST_MAC, dst: GATEWAY_MAC6 }, ...spec }),
    );
    script.host.run();
    tcp.expect({ flags: "ACK", ack: 30_001 });
    expect(script.host.dialled[0]!.received.length).toBe(30_000);
  });

  test("does not make us send it longer datagrams than its own packets have shown", () => {
    const { script, tcp } = dialled({ offload: ALL });
    const spec = tcp.frame({ flags: "ACK", seq: 1, ack: 1 }, bytes(30_000));
    receive(
      script.stack,
      script.cable.link,
      SEGMENT,
      undoneFrame({ eth: { src: GUEST_MAC, dst: GATEWAY_MAC }, ...spec }),
    );
    script.takeAll();
    const far = script.host.udpFar({ host: FAR_IP, port: 7 });
    script.send({ ip: { dst: FAR_IP }, udp: { srcPort: 1000, dstPort: 7 }, payload: "x" });
    far.send(bytes(3_000), far.received[0]!.from);
    expect(script.takeAll().every((frame) => frame.payload.length <= 1480)).toBe(true);
  });

  test("a datagram without its checksum passes, of either family; without `undone` it does not", () => {
    for (const [ip, dst, mac] of [
      [{ ip: { dst: FAR_IP } }, FAR_IP, GATEWAY_MAC],
      [{ ip6: { src: "fec0::5054:ff:fe12:3456", dst: FAR_IP6 } }, FAR_IP6, GATEWAY_MAC6],
    ] as const) {
      const script = new PacketScript();
      const far = script.host.udpFar({ host: dst, port: 7 });
      const spec: FrameSpec = { eth: { src: GUEST_MAC, dst: mac }, ...ip, udp: { srcPort: 1000, dstPort: 7 } };
      const frame = undoneFrame({ ...spec, payload: "hello" });
      receive(script.stack, script.cable.link, 0, frame.slice());
      expect(script.dropped("udp-malformed")).toBe(1);
      receive(script.stack, script.cable.link, SUM_UNDONE, frame);
      expect(far.received.map((d) => Buffer.from(d.bytes).toString())).toEqual(["hello"]);
    }
  });

  test("a fragment with something undone is dropped: there is no such thing", () => {
    const script = new PacketScript();
    const frame = undoneFrame({
      eth: { src: GUEST_MAC, dst: GATEWAY_MAC },
      ...{ ip: { dst: FAR_IP, mf: true, df: false }, udp: {}, payload: bytes(64) },
    });
    receive(script.stack, script.cable.link, SUM_UNDONE, frame);
    expect(script.dropped("ip-fragment")).toBe(1);
  });
});

describe("to a guest whose card takes what is undone", () => {
  test("a window's worth of a stream leaves as one segment, to be cut to the guest's MSS", () => {
    const { script, tcp, far } = dialled({ offload: ALL });
    const before = script.undone.length;
    far.send(bytes(14_600));
    script.host.run();
    expect(script.undone.slice(before)).toEqual([{ undone: SEGMENT, len: 54 + 14_600 }]);
    for (let i = 0; i < 10; i++) tcp.expect({ flags: i === 9 ? "PSH ACK" : "ACK", seq: 1 + i * SEGMENT });
    script.expectNothing();
  });

  test("what the windows allow is cut to whole segments; the rest waits as it would have", () => {
    const { script, tcp, far } = dialled({ offload: ALL, window: 10_000 });
    far.send(bytes(30_000));
    script.host.run();
    // Never more than half the largest window at once, as for single segments.
    const lengths = script.undone.filter((u) => u.undone > SUM_UNDONE).map((u) => u.len - 54);
    expect(lengths).toEqual([3 * SEGMENT, 3 * SEGMENT]);
    for (let i = 0; i < 6; i++)
      tcp.expect({ seq: 1 + i * SEGMENT }, bytes(30_000).slice(i * SEGMENT, (i + 1) * SEGMENT));
    script.expectNothing();
  });

  test("no frame is longer than the cable takes, and no segment is to be cut finer than 64 bytes", () => {
    const { script, far } = dialled({ offload: { ...ALL, largest: 8_000 }, window: 65_535 });
    far.send(bytes(14_600));
    script.host.run();
    expect(script.undone.map((u) => u.len).filter((len) => len > 1514)).toEqual([54 + 5 * SEGMENT, 54 + 5 * SEGMENT]);
    const small = dialled({ offload: ALL, options: { mss: LEAST_SEGMENT, timestamps: [1, 0] } });
    small.far.send(bytes(500));
    small.script.host.run();
    expect(small.script.undone.every((u) => u.undone === SUM_UNDONE)).toBe(true);
  });

  test("loss is repaired in single segments", () => {
    const { script, tcp, far } = dialled({ offload: ALL });
    far.send(bytes(14_600));
    script.host.run();
    script.takeAll();
    const before = script.undone.length;
    for (const right of [2, 3, 4]) {
      const sack = [[1 + SEGMENT, 1 + right * SEGMENT]] as const;
      tcp.send({ flags: "ACK", seq: 1, ack: 1, options: { sack } });
    }
    tcp.expect({ seq: 1 }, bytes(SEGMENT));
    expect(script.undone.slice(before).map((u) => u.undone)).toEqual([SUM_UNDONE]);
  });

  test("a guest that renegotiates is sent finished segments from then on", () => {
    const { script, tcp, far } = dialled({ offload: ALL });
    Object.assign(script.cable.link, { offload: null });
    const before = script.undone.length;
    far.send(bytes(2 * SEGMENT));
    tcp.expect({ seq: 1 });
    tcp.expect({ seq: 1 + SEGMENT });
    expect(script.undone.slice(before).map((u) => u.undone)).toEqual([0, 0]);
  });

  test("a datagram leaves without its checksum, one in fragments with it", () => {
    const script = new PacketScript({}, null, false, null, ALL);
    const far = script.host.udpFar({ host: FAR_IP, port: 7 });
    script.send({ ip: { dst: FAR_IP }, udp: { srcPort: 1000, dstPort: 7 }, payload: "x" });
    far.send("hello", far.received[0]!.from);
    script.expect({ ip: { dst: GUEST_IP }, udp: { srcPort: 7 }, payload: "hello" });
    far.send(bytes(3_000), far.received[0]!.from);
    script.host.run();
    expect(script.undone.map((u) => u.undone).slice(-4)).toEqual([SUM_UNDONE, 0, 0, 0]);
  });
});

describe("between cables", () => {
  const A = "52:54:00:00:00:01";
  const B = "52:54:00:00:00:02";
  const long: FrameSpec = { eth: { src: A, dst: B }, ip: {}, tcp: { flags: "ACK PSH" }, payload: bytes(4_000) };

  function lan(tap = new CableTap()) {
    const inner = new Recorder();
    const drops = new Drops();
    const clock = { now: () => 1_000 };
    const gatewayMacs = [Uint8Array.of(0x52, 0x55, 10, 0, 2, 2)];
    const bridge = new Switch({ inner, clock, trace: drops, gatewayMacs, guard: new LanGuard(NO_ADDRESSES), tap });
    const got: Uint8Array[] = [];
    const from = cable(bridge);
    const to = cable(bridge, { onFrame: (frame) => got.push(frame) });
    to.send(undoneFrame({ eth: { src: B, dst: A }, ip: {}, udp: {}, payload: "here I am" }));
    return { bridge, inner, drops, from, to, got, tap };
  }

  test("a long segment is cut for a guest whose card takes none, and passes as it is to one that does", () => {
    const { bridge, from, to, got } = lan();
    receive(bridge, from.link, 1000, undoneFrame(long));
    expect(got.map((f) => decodeFrame(f).problems)).toEqual([[], [], [], []]);
    expect(Buffer.concat(got.splice(0).map((f) => decodeFrame(f).payload))).toEqual(Buffer.from(bytes(4_000)));
    const seen = offloading(to.link);
    receive(bridge, from.link, 1000, undoneFrame(long));
    expect(seen).toEqual([{ undone: 1000, len: 54 + 4_000 }]);
    got.length = 0;
    Object.assign(to.link, { offload: { ...ALL, largest: 3_000 } });
    receive(bridge, from.link, 1000, undoneFrame(long));
    expect(got.length).toBe(4);
  });

  test("one with CWR is always cut: not every guest knows that only its first piece may have it", () => {
    const { bridge, from, to, got } = lan();
    const seen = offloading(to.link);
    const frame = undoneFrame(long);
    frame[14 + 20 + 13]! |= 0x80;
    receive(bridge, from.link, 1000, frame);
    expect([seen.length, got.length]).toEqual([4, 4]);
  });

  test("a checksum left undone is filled in, also in what goes to all", () => {
    const { bridge, from, got, inner } = lan();
    const frame = undoneFrame({ eth: { src: A }, ip: { dst: "10.0.2.255" }, udp: {}, payload: "all" });
    receive(bridge, from.link, SUM_UNDONE, frame);
    expect(got.map((f) => decodeFrame(f).problems)).toEqual([[]]);
    expect(inner.frames.length).toBe(1);
  });

  test("what claims to be undone and is not TCP or UDP is dropped and counted", () => {
    const { bridge, from, got, drops } = lan();
    receive(bridge, from.link, 1000, undoneFrame({ eth: { src: A, dst: B }, ip: {}, udp: {}, payload: bytes(300) }));
    expect(got).toEqual([]);
    expect(drops.counts["offload-malformed"]).toBe(1);
  });

  test("a full cable loses pieces and counts them", () => {
    const { bridge, from, to, drops } = lan();
    to.stall(true);
    receive(bridge, from.link, 1000, undoneFrame(long));
    expect(drops.counts["cable-full"]).toBe(4);
  });

  test("under impairment a long segment suffers piece by piece, and captures see it as it came", () => {
    const { bridge, from, got, tap, drops } = lan();
    const rule = { filter: null, direction: "up", delay: 0, jitter: 0, loss: 0.5, duplicate: 0, reorder: 0 } as const;
    const rules = [{ ...rule, rate: Number.POSITIVE_INFINITY }];
    const env = { target: bridge, clock: { now: () => 1_000 }, trace: drops, random: new SeededRandom(3) };
    tap.impair(new Impairment(rules, env));
    expect(tap.byFrame).toBe(true);
    const captured: number[] = [];
    tap.watch({ frame: (_link, _direction, _bytes, _at, len) => captured.push(len) });
    for (let i = 0; i < 10; i++) receive(bridge, from.link, 1000, undoneFrame(long));
    expect(captured).toEqual(Array.from({ length: 10 }, () => 54 + 4_000));
    expect(drops.counts.impaired + got.length).toBe(40);
    expect(drops.counts.impaired).toBeGreaterThan(10);
    expect(got.length).toBeGreaterThan(10);
    expect(got.flatMap((f) => decodeFrame(f).problems)).toEqual([]);
  });
});
