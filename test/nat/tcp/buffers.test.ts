/** Bytes that all connections' buffers may hold, each cap set by its option. */
import { describe, expect, test } from "vitest";
import { BUFFER_COST } from "../../../src/core/cost.ts";
import { DEFAULT_LIMITS } from "../../../src/core/limits.ts";
import { CHUNK, ChunkPool, SMALL_CHUNK } from "../../../src/proto/tcp/chunk-pool.ts";
import type { FakeFar } from "../../support/fake-host.ts";
import { ScriptGuest } from "../../support/guests.ts";
import { FAR_IP, PacketScript, type TcpScript } from "../../support/packet-script.ts";

const SEGMENT = new Uint8Array(1_400).fill(0x78);
/** What a fake far end takes without reading. */
const KERNEL = 65_536;

/** A guest that has connected, and sends whatever the window says. */
class Sender {
  readonly far: FakeFar;
  readonly #guest: ScriptGuest;
  readonly #port: number;
  readonly #ack: number;
  #sent = 0;

  constructor(script: PacketScript, guest: ScriptGuest, port: number) {
    this.#guest = guest;
    this.#port = port;
    guest.takeAll();
    this.#send("SYN", 0, 0);
    this.#ack = (guest.takeAll()[0]!.tcp!.seq + 1) >>> 0;
    this.#send("ACK", 1, this.#ack);
    this.far = script.host.dialled.at(-1)!;
  }

  /** Sends so many bytes that are new, and from `from` on all again that were not acknowledged. */
  push(bytes: number): void {
    for (let n = 0; n < bytes; n += SEGMENT.length) {
      this.#send("ACK", 1 + this.#sent, this.#ack, SEGMENT);
      this.#sent += SEGMENT.length;
    }
  }

  /** Sends so many segments behind one that is missing. */
  ahead(segments: number): void {
    for (let n = 1; n <= segments; n++) this.#send("ACK", 1 + n * SEGMENT.length, this.#ack, SEGMENT);
  }

  /** What has not been acknowledged comes again until all of it is. */
  repeat(): void {
    for (let tries = 0; tries < 1_000; tries++) {
      const acked = this.acked();
      if (acked === this.#sent) return;
      this.#send("ACK", 1 + acked, this.#ack, SEGMENT);
    }
    expect(this.acked()).toBe(this.#sent);
  }

  #acked = 0;

  acked(): number {
    for (const { tcp } of this.#guest.takeAll())
      if (tcp?.dstPort === this.#port) this.#acked = Math.max(this.#acked, tcp.ack - 1);
    return this.#acked;
  }

  #send(flags: string, seq: number, ack: number, payload: Uint8Array = new Uint8Array(0)): void {
    const options = flags === "SYN" ? { mss: 1_460, windowScale: 7 } : {};
    const tcp = { flags, srcPort: this.#port, dstPort: 80, seq, ack, options };
    this.#guest.send({ ip: { dst: FAR_IP }, tcp, payload });
  }
}

function two(script: PacketScript): [ScriptGuest, ScriptGuest] {
  const guests: [ScriptGuest, ScriptGuest] = [new ScriptGuest(script, 16), new ScriptGuest(script, 17)];
  for (const guest of guests) guest.send({ arp: { senderMac: guest.mac, senderIp: guest.ip, targetIp: "10.0.2.2" } });
  return guests;
}

test("bytes from guests that hosts do not take: one guest has as much as one may, all have as much as all may, and it comes again", () => {
  const limits = { receiveBytes: 400_000, receiveBytesPerGuest: 200_000 };
  const script = new PacketScript({ limits });
  const [a, b] = two(script);
  const stuck = Array.from({ length: 12 }, (_, i) => new Sender(script, a, 2_000 + i));
  for (const sender of stuck) sender.far.stall();
  // All in windows that were offered before anything waited.
  for (const sender of stuck) sender.push(KERNEL - 8_000);
  for (let i = 0; i < 40; i++) for (const sender of stuck) sender.push(SEGMENT.length);
  const held = (): number => script.stack.gauges().receiveBytes;
  expect(script.dropped("receive-full")).toBeGreaterThan(100);
  expect(held()).toBeGreaterThan(200_000 - SEGMENT.length);
  expect(held()).toBeLessThanOrEqual(200_000 + 12 * SEGMENT.length);
  // A host that takes what it is given is spared, the guest's own and another's; and another has a share of its own.
  const before = script.dropped("receive-full");
  for (const guest of [a, b]) {
    const quick = new Sender(script, guest, 4_000);
    quick.push(100 * SEGMENT.length);
    expect(quick.far.received.length).toBe(100 * SEGMENT.length);
  }
  const slow = new Sender(script, b, 4_001);
  slow.far.stall();
  slow.push(KERNEL + 20_000);
  expect(script.dropped("receive-full")).toBe(before);
  expect(held()).toBeGreaterThan(200_000);
  // The hosts read again.
  for (const { far } of [...stuck, slow]) far.unstall();
  for (const sender of stuck) sender.repeat();
  expect(held()).toBe(0);
  expect(script.dropped("receive-full")).toBe(before);
});

test("windows narrow as what hosts do not take becomes more, and what a connection held is forgotten with it", () => {
  const script = new PacketScript({ limits: { receiveBytes: 600_000, receiveBytesPerGuest: 600_000 } });
  const [a] = two(script);
  const window = (): number => {
    const sender = new Sender(script, a, (port += 1));
    sender.push(SEGMENT.length);
    const last = a.takeAll().at(-1)!.tcp!.window;
    sender.far.reset();
    script.host.run();
    a.takeAll();
    return last;
  };
  let port = 5_000;
  const wide = window();
  const stuck = Array.from({ length: 6 }, (_, i) => new Sender(script, a, 2_000 + i));
  for (const sender of stuck) {
    sender.far.stall();
    for (let i = 0; i < 90; i++) sender.push(SEGMENT.length);
  }
  expect(script.stack.gauges().receiveBytes).toBeGreaterThan(300_000);
  expect(window()).toBeLessThan(wide / 2);
  for (const { far } of stuck) far.reset();
  script.host.run();
  expect(script.stack.gauges().receiveBytes).toBe(0);
});

test("bytes before their turn: what is too much is not kept, and comes again", () => {
  const piece = SEGMENT.length + BUFFER_COST;
  const script = new PacketScript({ limits: { outOfOrderBytes: 10 * piece, outOfOrderBytesPerGuest: 10 * piece } });
  const tcp = script.tcp({ srcPort: 2_000 });
  tcp.establish();
  const send = (n: number): void => tcp.send({ flags: "ACK", seq: 1 + n * SEGMENT.length, ack: 1 }, SEGMENT);
  for (let n = 1; n < 30; n++) send(n);
  expect(script.stack.gauges().outOfOrderBytes).toBe(10 * piece);
  for (let n = 0; n < 30; n++) send(n);
  expect(script.stack.gauges().outOfOrderBytes).toBe(0);
  expect(script.host.dialled[0]!.received.length).toBe(30 * SEGMENT.length);
});

describe.each([
  ["one after the other", false],
  ["all at once, when all have been idle", true],
])("bytes towards guests, whose hosts send %s", (_name, atOnce) => {
  test("all together hold what they may, each has something of it, and all have room again", () => {
    const budget = 1_000_000;
    const script = new PacketScript({ limits: { sendBytes: budget, tcpFlows: 64 } });
    const flows: TcpScript[] = [];
    for (let i = 0; i < 40; i++) {
      const tcp = script.tcp({ srcPort: 2_000 + i });
      tcp.establish();
      flows.push(tcp);
      if (atOnce) continue;
      script.host.dialled.at(-1)!.send(new Uint8Array(budget));
      script.takeAll();
    }
    if (atOnce) for (const far of script.host.dialled) far.send(new Uint8Array(budget));
    script.takeAll();
    expect(script.stack.gauges().sendBytes).toBeLessThanOrEqual(budget);
    // Who asks last has something, too.
    const late = script.tcp({ srcPort: 3_000 });
    late.establish();
    script.host.dialled.at(-1)!.send(new Uint8Array(budget));
    expect(script.takeAll().filter(({ tcp }) => tcp!.dstPort === 3_000).length).toBeGreaterThan(1);
    expect(script.stack.gauges().sendBytes).toBeLessThanOrEqual(budget);
    for (const tcp of [...flows, late]) tcp.send({ flags: "RST", seq: 1 });
    expect(script.stack.gauges().sendBytes).toBe(0);
    script.takeAll();
    const again = script.tcp({ srcPort: 4_000 });
    again.establish();
    script.host.dialled.at(-1)!.send(new Uint8Array(200_000));
    script.takeAll();
    expect(script.stack.gauges().sendBytes).toBeGreaterThan(150_000);
  });
});

test("bytes towards guests: one that reads nothing, on however many connections, leaves another its share", () => {
  const script = new PacketScript({ limits: { sendBytes: 8_000_000, tcpFlows: 256 } });
  const [a, b] = two(script);
  const held = (): number => script.stack.gauges().sendBytes;
  const sent = (guest: ScriptGuest, port: number): number => {
    const before = held();
    new Sender(script, guest, port).far.send(new Uint8Array(2_000_000));
    guest.takeAll();
    return held() - before;
  };
  for (let i = 0; i < 150; i++) sent(a, 2_000 + i);
  expect(held()).toBeGreaterThan(4_000_000);
  expect(sent(a, 3_000)).toBeLessThan(50_000);
  expect(sent(b, 3_000)).toBeGreaterThan(200_000);
});

test("bytes before their turn: one guest keeps as much as one may, and another has room", () => {
  const piece = SEGMENT.length + BUFFER_COST;
  const script = new PacketScript({ limits: { outOfOrderBytes: 20 * piece } });
  const [a, b] = two(script);
  const held = (): number => script.stack.gauges().outOfOrderBytes;
  new Sender(script, a, 2_000).ahead(30);
  expect(held()).toBe(15 * piece);
  new Sender(script, b, 2_000).ahead(30);
  expect(held()).toBe(20 * piece);
});

test("thousands of connections with a byte each towards guests that open no window", () => {
  const budget = 4_000_000;
  const script = new PacketScript({ limits: { sendBytes: budget } });
  for (let i = 0; i < 1_000; i++) {
    const tcp = script.tcp({ srcPort: 2_000 + i });
    tcp.establish({ mss: 1_460 }, 0);
    script.host.dialled.at(-1)!.send("x");
    script.takeAll();
  }
  expect(script.stack.gauges().sendBytes).toBeLessThanOrEqual(budget);
});

test("the first hold all they may, then all connections that there may be hold the least: within the budget", () => {
  const { sendBytes, tcpFlows } = DEFAULT_LIMITS;
  const pool = new ChunkPool({ sendBytes, tcpFlows });
  const guest = pool.of(null);
  const greedy = 200;
  for (let more = true; more; ) {
    more = false;
    for (let i = 0; i < greedy; i++) {
      // One more chunk than its share is what a buffer may come to.
      if (pool.used / greedy + CHUNK > guest.share()) continue;
      pool.take(Math.log2(CHUNK));
      more = true;
    }
  }
  expect(pool.used).toBeGreaterThan(0.4 * sendBytes);
  for (let i = greedy; i < tcpFlows; i++) {
    expect(guest.share()).toBeGreaterThanOrEqual(SMALL_CHUNK);
    pool.take(Math.log2(SMALL_CHUNK));
  }
  expect(pool.used).toBeLessThanOrEqual(sendBytes);
});
