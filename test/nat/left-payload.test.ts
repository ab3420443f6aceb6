/** Which segments' payload may stay in the guest's memory until a host's socket has it, and what becomes of it. */
import { describe, expect, test } from "vitest";
import type { Elsewhere, Slab } from "../../src/core/link.ts";
import { type Connection, dialled, SEGMENT } from "../proto/tcp/roles.ts";
import { encodeFrame, type FrameSpec } from "../support/frames.ts";
import { ALL, undoneFrame } from "../support/offload.ts";
import { FAR_IP6, GATEWAY_MAC, GATEWAY_MAC6, GUEST_MAC } from "../support/packet-script.ts";

const SIZE = 40_000;

/** A slab with one frame, of which `head` bytes are there, and 0xdd in place of the others. */
class HalfSlab implements Slab {
  readonly bytes: Uint8Array;
  readonly scarce = false;
  readonly elsewhere: Elsewhere;

  constructor(frame: Uint8Array, head: number) {
    this.bytes = new Uint8Array(frame.length).fill(0xdd);
    this.bytes.set(frame.subarray(0, head));
    this.elsewhere = {
      fill: (at, len) => this.bytes.set(frame.subarray(at, at + len), at),
      send: () => 0,
    };
  }

  pin(): void {}
  unpin(): void {}
}

function bytes(n: number, seed = 0): Uint8Array {
  return Uint8Array.from({ length: n }, (_, i) => (i * 31 + (i >> 8) * 7 + seed) & 0xff);
}

const gateway = (spec: FrameSpec): FrameSpec => ({
  ...spec,
  eth: { src: GUEST_MAC, dst: "ip6" in spec ? GATEWAY_MAC6 : GATEWAY_MAC, ...spec.eth },
});

/** The segment's frame, and how many of its bytes are headers. */
function made(spec: FrameSpec): { frame: Uint8Array; head: number } {
  const frame = undoneFrame(gateway(spec));
  return { frame, head: frame.length - (spec.payload as Uint8Array).length };
}

/** As a ring gives it: asked first, then whole or in part. Whether it was left. */
function arrives({ script }: Connection, spec: FrameSpec, here?: number): boolean {
  const { frame, head } = made(spec);
  const { link } = script.cable;
  const slab = new HalfSlab(frame, here ?? head);
  const left = script.stack.leavesPayload(link, slab, 0, here ?? head, frame.length);
  if (!left) slab.elsewhere.fill(0, frame.length);
  script.stack.receive(link, slab, 0, frame.length, SEGMENT);
  return left;
}

function connection(): Connection {
  const made = dialled({ offload: ALL, window: 65_535 });
  made.script.host.takesElsewhere = true;
  return made;
}

describe("a large segment's payload", () => {
  test.each(["IPv4", "IPv6"])("stays where it is on its way to the host's socket: %s", (family) => {
    const c = family === "IPv4" ? connection() : dialled({ offload: ALL, ends: { dst: FAR_IP6 } });
    c.script.host.takesElsewhere = true;
    const { tcp, script, far } = c;
    const [one, two] = [bytes(SIZE), bytes(20_000, 1)];
    expect(arrives(c, tcp.frame({ flags: "ACK PSH", seq: 1, ack: 1 }, one))).toBe(true);
    expect(arrives(c, tcp.frame({ flags: "ACK PSH", seq: 1 + SIZE, ack: 1 }, two))).toBe(true);
    script.stack.batchEnd(script.cable.link);
    script.host.run();
    expect(Buffer.compare(far.received, Buffer.concat([one, two]))).toBe(0);
  });

  test("is followed by short ones in their order", () => {
    const c = connection();
    const { tcp, script, far } = c;
    const all: Uint8Array[] = [];
    let seq = 1;
    for (const [i, size] of [100, SIZE, 50, 60, 20_000, 7].entries()) {
      const payload = bytes(size, i);
      all.push(payload);
      expect(arrives(c, tcp.frame({ flags: "ACK", seq, ack: 1 }, payload))).toBe(size > 16_384);
      seq += size;
    }
    script.stack.batchEnd(script.cable.link);
    script.host.run();
    expect(Buffer.compare(far.received, Buffer.concat(all))).toBe(0);
  });

  test("is put in its place where the window cuts it, and what follows is not mixed up with it", () => {
    const c = connection();
    const { tcp, script, far } = c;
    far.stall();
    const payload = bytes(1_000_000);
    let seq = 0;
    for (let i = 0; i < 12; i++) {
      // What is beyond the window is not taken; the guest then sends on from where it ends, in short segments.
      const size = i % 3 === 0 ? 60_000 : 5_000;
      arrives(c, tcp.frame({ flags: "ACK", seq: 1 + seq, ack: 1 }, payload.subarray(seq, seq + size)));
      script.stack.batchEnd(script.cable.link);
      for (const { tcp: answer } of script.takeAll()) seq = Math.max(seq, answer!.ack - tcp.isn - 1);
    }
    far.unstall();
    script.host.run();
    expect(far.received.length).toBe(seq);
    expect(Buffer.compare(far.received, payload.subarray(0, seq))).toBe(0);
  });

  test("is put in its place for a socket that does not take it from elsewhere any more", () => {
    const c = connection();
    const { tcp, script, far } = c;
    const payload = bytes(SIZE);
    expect(arrives(c, tcp.frame({ flags: "ACK", seq: 1, ack: 1 }, payload))).toBe(true);
    script.host.takesElsewhere = false;
    script.stack.batchEnd(script.cable.link);
    script.host.run();
    expect(Buffer.compare(far.received, payload)).toBe(0);
  });

  type Case = [string, (c: Connection) => [FrameSpec, number?]];
  test.each<Case>([
    ["not in order", ({ tcp }) => [tcp.frame({ flags: "ACK", seq: 2, ack: 1 }, bytes(SIZE))]],
    ["seen before", ({ tcp }) => [tcp.frame({ flags: "ACK", seq: 0, ack: 1 }, bytes(SIZE))]],
    ["the last one", ({ tcp }) => [tcp.frame({ flags: "ACK FIN", seq: 1, ack: 1 }, bytes(SIZE))]],
    ["without an acknowledgement", ({ tcp }) => [tcp.frame({ flags: "PSH", seq: 1 }, bytes(SIZE))]],
    ["a reset", ({ tcp }) => [tcp.frame({ flags: "ACK RST", seq: 1, ack: 1 }, bytes(SIZE))]],
    ["short", ({ tcp }) => [tcp.frame({ flags: "ACK", seq: 1, ack: 1 }, bytes(16_000))]],
    [
      "of another connection",
      ({ tcp }) => [{ ...tcp.frame({ flags: "ACK", seq: 1, ack: 1 }, bytes(SIZE)), tcp: { srcPort: 9 } }],
    ],
    [
      "of another card",
      ({ tcp }) => [{ ...tcp.frame({ flags: "ACK", seq: 1, ack: 1 }, bytes(SIZE)), eth: { src: "52:54:00:00:00:09" } }],
    ],
    [
      "whose options are not all here",
      ({ tcp }) => [tcp.frame({ flags: "ACK", seq: 1, ack: 1, options: { timestamps: [1, 1] } }, bytes(SIZE)), 60],
    ],
    ["whose headers are not all here", ({ tcp }) => [tcp.frame({ flags: "ACK", seq: 1, ack: 1 }, bytes(SIZE)), 40]],
    [
      "a datagram's",
      ({ tcp }) => [
        {
          ip: { src: tcp.src, dst: tcp.dst },
          udp: { srcPort: tcp.srcPort, dstPort: tcp.dstPort },
          payload: bytes(SIZE),
        },
      ],
    ],
    [
      "a fragment's",
      ({ tcp }) => {
        const spec = tcp.frame({ flags: "ACK", seq: 1, ack: 1 }, bytes(SIZE));
        return [{ ...spec, ip: { ...(spec as { ip: object }).ip, mf: true } as never }];
      },
    ],
  ])("is not left, of a segment that is %s", (_, make) => {
    const c = connection();
    const [spec, here] = make(c);
    const { frame, head } = made(spec);
    const { link } = c.script.cable;
    const slab = new HalfSlab(frame, here ?? head);
    expect(c.script.stack.leavesPayload(link, slab, 0, here ?? head, frame.length)).toBe(false);
  });

  test("is not left behind a hole, for a socket that has a backlog, or by a closed network", () => {
    const holed = connection();
    holed.tcp.send({ flags: "ACK", seq: 100, ack: 1 }, "later");
    const next = (c: Connection): boolean => {
      const { frame, head } = made(c.tcp.frame({ flags: "ACK", seq: 1, ack: 1 }, bytes(SIZE)));
      const slab = new HalfSlab(frame, head);
      return c.script.stack.leavesPayload(c.script.cable.link, slab, 0, head, frame.length);
    };
    expect(next(holed)).toBe(false);
    const busy = connection();
    expect(next(busy)).toBe(true);
    busy.script.host.takesElsewhere = false;
    expect(next(busy)).toBe(false);
    busy.script.host.takesElsewhere = true;
    busy.script.stack.close();
    expect(next(busy)).toBe(false);
  });

  test("any frame of which any part is here is asked about without harm", () => {
    const c = connection();
    const whole = encodeFrame(gateway(c.tcp.frame({ flags: "ACK", seq: 1, ack: 1 }, bytes(SIZE))));
    let x = 1;
    const random = (n: number): number => (x = (Math.imul(x, 1664525) + 1013904223) >>> 0) % n;
    for (let i = 0; i < 3_000; i++) {
      const frame = whole.slice();
      for (let n = random(4); n > 0; n--) frame[random(80)] = random(256);
      const head = random(120);
      const slab = new HalfSlab(frame, head);
      c.script.stack.leavesPayload(c.script.cable.link, slab, 0, head, frame.length);
    }
  });
});
