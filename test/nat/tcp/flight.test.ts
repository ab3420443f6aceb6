/** A large transfer, either way, leaves room for something small beside it, and has all it can while it is alone. */
import { describe, expect, test, vi } from "vitest";
import { resolveOptions } from "../../../src/control/options.ts";
import { DEFAULT_LIMITS } from "../../../src/core/limits.ts";
import type { NatContext } from "../../../src/nat/context.ts";
import type { TcpFlow } from "../../../src/nat/tcp/tcp-flow.ts";
import { TcpNat } from "../../../src/nat/tcp/tcp-nat.ts";
import { PacketScript, type TcpScript } from "../../support/packet-script.ts";
import { SeededRandom } from "../../support/random.ts";

const KIB = 1_024;
const MSS = 1_460;

function context(): NatContext {
  return { random: new SeededRandom(1), flows: { serve() {} } } as unknown as NatContext;
}

function nat(): TcpNat {
  return new TcpNat(resolveOptions({ mtu: 1500 }).stack, context());
}

function flow(): TcpFlow {
  return { intervalDown: 0, intervalUp: 0, large: false } as TcpFlow;
}

/** Every millisecond each flow's host sends so many bytes. */
function run(n: TcpNat, millis: [from: number, to: number], ...flows: readonly (readonly [TcpFlow, number])[]): void {
  for (let now = millis[0]; now < millis[1]; now++) for (const [f, len] of flows) n.windowLimits.receiving(f, len, now);
}

test("eight large transfers alone are not held back", () => {
  const n = nat();
  const flows = Array.from({ length: 8 }, () => [flow(), 64 * KIB] as const);
  run(n, [0, 100], ...flows);
  expect(n.windowLimits.largeFlight(MSS)).toBe(Number.POSITIVE_INFINITY);
});

test("beside something small a large transfer has 32 KiB under way, and so has each of four", () => {
  const n = nat();
  const [large, small] = [flow(), flow()];
  run(n, [0, 50], [large, 256 * KIB], [small, 1]);
  expect(n.windowLimits.largeFlight(MSS)).toBe(32 * KIB);
  expect([large.large, small.large]).toEqual([true, false]);
  const more = Array.from({ length: 3 }, () => [flow(), 256 * KIB] as const);
  run(n, [50, 100], [large, 256 * KIB], [small, 1], ...more);
  expect(n.windowLimits.largeFlight(MSS)).toBe(32 * KIB);
});

test("a large transfer alone on its way down may have all of sendBuffer waiting for its guest, beside others a megabyte", () => {
  const n = nat();
  const { sendBuffer } = DEFAULT_LIMITS;
  const large = flow();
  run(n, [0, 50], [large, 64 * KIB]);
  expect(n.sendLimit(n.chunks.of(null))).toBe(sendBuffer);
  run(n, [50, 100], [large, 64 * KIB], [flow(), 64 * KIB]);
  expect(n.sendLimit(n.chunks.of(null))).toBe(1_024 * KIB);
  run(n, [100, 150], [large, 64 * KIB]);
  expect(n.sendLimit(n.chunks.of(null))).toBe(sendBuffer);
  run(n, [150, 200], [large, 64 * KIB], [flow(), 1]);
  expect(n.sendLimit(n.chunks.of(null))).toBe(1_024 * KIB);
});

test("it is over when nothing small has come for a while", () => {
  const n = nat();
  const [large, small] = [flow(), flow()];
  run(n, [0, 50], [large, 256 * KIB], [small, 1]);
  run(n, [50, 80], [large, 256 * KIB]);
  expect(n.windowLimits.largeFlight(MSS)).toBe(Number.POSITIVE_INFINITY);
});

test("never less than six packets of the guest's, whatever these carry", () => {
  const n = nat();
  run(n, [0, 50], [flow(), 256 * KIB], [flow(), 1]);
  expect(n.windowLimits.largeFlight(65_480)).toBe(6 * 65_480);
});

describe("the window that senders share", () => {
  function windows(mss: number, receiveMost?: number): number[] {
    const limits = receiveMost === undefined ? {} : { receiveBuffer: receiveMost };
    const { windowLimits } = new TcpNat(resolveOptions({ limits }).stack, context());
    return [1, 8, 100].map((senders) => {
      windowLimits.shareAmong(senders);
      return windowLimits.receiveLimit(mss);
    });
  }

  test("is a megabyte where packets are of 1500 bytes, of which one alone has three eighths", () => {
    expect(windows(1460)).toEqual([384 * KIB, 128 * KIB, 0xffff]);
  });

  test("is 64 packets where they are larger, of which one alone has 16, and nobody less than two", () => {
    expect(windows(65_480)).toEqual([16 * 65_480, 8 * 65_480, 2 * 65_480]);
  });

  test("is never more than the limit", () => {
    expect(windows(65_480, 100_000)).toEqual([100_000, 100_000, 100_000]);
  });
});

/** Every millisecond the guest sends so many bytes on each flow. */
function send(n: TcpNat, millis: [from: number, to: number], ...flows: readonly (readonly [TcpFlow, number])[]): void {
  for (let now = millis[0]; now < millis[1]; now++) {
    for (const [f, len] of flows) n.windowLimits.sending(f, len, now);
    n.windowLimits.shareAmong(flows.length);
  }
}

test("transfers that take turns share it as well: each batch is of one, and all of them are on their way at once", () => {
  const n = nat();
  const flows = Array.from({ length: 8 }, flow);
  for (let now = 0; now < 50; now++) {
    for (const f of flows) {
      n.windowLimits.sending(f, 16 * KIB, now);
      n.windowLimits.shareAmong(1);
    }
  }
  expect(n.windowLimits.receiveLimit(MSS)).toBe(128 * KIB);
  send(n, [50, 80], [flows[0]!, 64 * KIB]);
  expect(n.windowLimits.receiveLimit(MSS)).toBe(384 * KIB);
});

test("what a guest sends at large has a window of 64 KiB beside something small, four of 32, and all of it alone", () => {
  const n = nat();
  const [large, small] = [flow(), flow()];
  send(n, [0, 50], [large, 64 * KIB]);
  expect(n.windowLimits.receiveLimit(MSS)).toBe(384 * KIB);
  send(n, [50, 100], [large, 64 * KIB], [small, 1]);
  expect(n.windowLimits.receiveLimit(MSS)).toBe(64 * KIB);
  const more = Array.from({ length: 3 }, () => [flow(), 64 * KIB] as const);
  send(n, [100, 150], [large, 64 * KIB], [small, 1], ...more);
  expect(n.windowLimits.receiveLimit(MSS)).toBe(32 * KIB);
  send(n, [150, 200], [large, 64 * KIB]);
  expect(n.windowLimits.receiveLimit(MSS)).toBe(384 * KIB);
});

test("something small that only the host says counts as well, and a large transfer that is answered does not", () => {
  const n = nat();
  const [large, small] = [flow(), flow()];
  const step = (now: number, beside: boolean): void => {
    n.windowLimits.sending(large, 64 * KIB, now);
    n.windowLimits.receiving(large, 1, now);
    if (beside) n.windowLimits.receiving(small, 1, now);
    n.windowLimits.shareAmong(1);
  };
  for (let now = 0; now < 50; now++) step(now, true);
  expect(n.windowLimits.receiveLimit(MSS)).toBe(64 * KIB);
  for (let now = 50; now < 100; now++) step(now, false);
  expect(n.windowLimits.receiveLimit(MSS)).toBe(384 * KIB);
});

/** A connection that is established, and the shift of the windows it is offered. */
function connection(script: PacketScript, srcPort: number): { tcp: TcpScript; scale: number } {
  const tcp = script.tcp({ srcPort });
  tcp.send({ flags: "SYN", options: { mss: 1_460, windowScale: 7 } });
  const scale = tcp.expect({ flags: "SYN ACK" }).tcp!.options.windowScale!;
  tcp.send({ flags: "ACK", seq: 1, ack: 1 });
  return { tcp, scale };
}

const SEGMENT = new Uint8Array(1_400);

test("a window that becomes smaller beside something small keeps its right edge (RFC 9293 section 3.8.6.2.1)", () => {
  const script = new PacketScript();
  const { tcp: bulk, scale } = connection(script, 1_000);
  const { tcp: small } = connection(script, 1_001);
  let [seq, edge, window, asked] = [1, 0, 0, 1];
  const step = (beside: boolean): void => {
    script.advance(1);
    const frames = Array.from({ length: 20 }, (_, i) =>
      bulk.frame({ flags: "ACK", seq: seq + i * SEGMENT.length, ack: 1 }, SEGMENT),
    );
    if (beside) frames.push(small.frame({ flags: "ACK", seq: asked++, ack: 1 }, "x"));
    seq += 20 * SEGMENT.length;
    script.sendBatch(...frames);
    for (const { tcp } of script.takeAll()) {
      if (tcp!.dstPort !== 1_000) continue;
      window = tcp!.window! * 2 ** scale;
      const right = seq + window;
      expect(right).toBeGreaterThanOrEqual(edge);
      edge = right;
    }
  };
  for (let i = 0; i < 30; i++) step(false);
  expect(window).toBeGreaterThan(250 * KIB);
  for (let i = 0; i < 40; i++) step(true);
  expect(window).toBeLessThan(66 * KIB);
  for (let i = 0; i < 40; i++) step(false);
  expect(window).toBeGreaterThan(250 * KIB);
  expect(script.host.dialled[0]!.received.length).toBe(seq - 1);
});

test("of one read what is small goes to its host first", () => {
  const script = new PacketScript();
  const { tcp: bulk } = connection(script, 1_000);
  const { tcp: small } = connection(script, 1_001);
  const takes = script.host.dialled.map((far) => vi.spyOn(far, "take"));
  const much = Array.from({ length: 20 }, (_, i) =>
    bulk.frame({ flags: "ACK", seq: 1 + i * SEGMENT.length, ack: 1 }, SEGMENT),
  );
  script.sendBatch(...much, small.frame({ flags: "ACK", seq: 1, ack: 1 }, "x"));
  const [first, second] = takes.map((take) => take.mock.invocationCallOrder[0]!);
  expect(second).toBeLessThan(first!);
  expect(script.host.dialled.map((far) => far.received.length)).toEqual([20 * SEGMENT.length, 1]);
});
