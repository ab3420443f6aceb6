/** Windows that are offered and windows that are kept: never wider than what is taken, never written into while shut. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { input } from "../../../src/proto/tcp/input.ts";
import { output } from "../../../src/proto/tcp/output.ts";
import { seqAdd, seqDiff } from "../../../src/wire/seq.ts";
import { ACK, FIN, tcpAck, tcpSeal, tcpWindow, tcpWrite } from "../../../src/wire/tcp.ts";
import { tcpOptions } from "../../../src/wire/tcp-options.ts";
import { Peer } from "../../support/tcb-pair.ts";
import { dialled, dialling, OPTIONS, ROLES, SEGMENT } from "./roles.ts";

const SCALED = { mss: SEGMENT, windowScale: 7 };

describe.each(ROLES)("%s", (_name, connect) => {
  test("a FIN needs no window: behind one the window is shut, not the widest there is", async () => {
    const { script, tcp, far } = await connect({ options: SCALED, network: { limits: { receiveBuffer: 65_535 } } });
    far.stall();
    let sent = 0;
    let window = 65_535;
    for (let i = 0; i < 400 && window > 0; i++) {
      const len = Math.min(SEGMENT, window);
      tcp.send({ flags: "ACK", seq: 1 + sent, ack: 1 }, new Uint8Array(len));
      sent += len;
      window = script.takeAll().at(-1)!.tcp!.window;
    }
    expect(window).toBe(0);
    tcp.send({ flags: "FIN ACK", seq: 1 + sent, ack: 1 });
    expect(tcp.expect({ flags: "ACK", ack: 2 + sent }).tcp!.window).toBe(0);
  });

  test("equal answers to the probes of a shut window are no duplicates: nothing but a byte at a time goes into it", async () => {
    const { script, tcp, far } = await connect({ options: { mss: SEGMENT } });
    tcp.send({ flags: "ACK", seq: 1, ack: 1, window: 0 });
    far.send("x".repeat(4 * SEGMENT));
    for (let i = 0; i < 6; i++) {
      script.advanceUntilFrame();
      expect(script.takeAll().map((frame) => frame.payload.length)).toEqual([1]);
      // Probes that crossed are answered more than once.
      for (let n = 0; n < 3; n++) tcp.send({ flags: "ACK", seq: 1, ack: 1, window: 0 });
      script.expectNothing();
    }
    tcp.send({ flags: "ACK", seq: 1, ack: 1, window: 65_535 });
    expect(Buffer.concat(script.takeAll().map((frame) => frame.payload)).toString()).toBe("x".repeat(4 * SEGMENT));
  });
});

test("a window that shuts during recovery ends it: probes, and after them what is missing", () => {
  const { script, tcp, far } = dialled({ options: OPTIONS });
  far.send("x".repeat(6 * SEGMENT));
  script.takeAll();
  const sack = (from: number, to: number): { sack: [number, number][] } => ({
    sack: [[1 + from * SEGMENT, 1 + to * SEGMENT]],
  });
  tcp.send({ flags: "ACK", seq: 1, ack: 1, window: 0, options: sack(1, 4) });
  tcp.send({ flags: "ACK", seq: 1, ack: 1, window: 0, options: sack(1, 5) });
  tcp.send({ flags: "ACK", seq: 1, ack: 1, window: 0, options: sack(1, 6) });
  script.expectNothing();
  script.advanceUntilFrame();
  tcp.expect({ seq: 1 }, "x");
  tcp.send({ flags: "ACK", seq: 1, ack: 1, window: 65_535 });
  tcp.expect({ seq: 1 }, "x".repeat(SEGMENT));
  tcp.send({ flags: "ACK", seq: 1, ack: 1 + 6 * SEGMENT });
  script.advance(60_000);
  script.expectNothing();
});

test("RFC 7323 section 2.2: the window of a SYN-ACK is not scaled, not in a simultaneous open either", async () => {
  const { script, tcp, far } = await dialling();
  tcp.expect({ flags: "SYN", seq: 0 });
  tcp.send({ flags: "SYN", seq: 0, options: SCALED, window: 65_535 });
  tcp.expect({ flags: "SYN ACK", seq: 0, ack: 1 });
  tcp.send({ flags: "SYN ACK", seq: 0, ack: 1, options: SCALED, window: 2_000 });
  script.takeAll();
  far.send("x".repeat(10 * SEGMENT));
  const sent = script.takeAll().reduce((sum, frame) => sum + frame.payload.length, 0);
  expect(sent).toBeLessThanOrEqual(2_000);
});

test("what a guest sends right behind its SYN-ACK, in the same read, is taken", async () => {
  const { script, tcp, far } = await dialling();
  tcp.expect({ flags: "SYN", seq: 0 });
  script.sendBatch(
    tcp.frame({ flags: "SYN ACK", seq: 0, ack: 1, options: OPTIONS }),
    tcp.frame({ flags: "ACK", seq: 1, ack: 1 }, "220 ready\r\n"),
  );
  tcp.expect({ flags: "ACK", seq: 1, ack: 12 });
  expect(far.text).toBe("220 ready\r\n");
  expect(script.dropped("tcp-window")).toBe(0);
});

test("what no window allows is dropped, and counted", () => {
  const { script, tcp, far } = dialled({ network: { limits: { receiveBuffer: 65_535 } } });
  far.stall();
  let sent = 0;
  for (let window = 65_535; window > 0; ) {
    const len = Math.min(SEGMENT, window);
    tcp.send({ flags: "ACK", seq: 1 + sent, ack: 1 }, new Uint8Array(len));
    sent += len;
    window = script.takeAll().at(-1)!.tcp!.window;
  }
  const before = script.dropped("tcp-window");
  tcp.send({ flags: "ACK", seq: 1 + sent, ack: 1 }, "x");
  tcp.expect({ flags: "ACK", ack: 1 + sent, window: 0 });
  expect(script.dropped("tcp-window")).toBe(before + 1);
});

describe("whatever comes in whatever order", () => {
  const command = fc.oneof(
    // Data at a distance from the next byte that is due, FIN now and then; the host takes or leaves.
    fc.record({
      at: fc.integer({ min: -2, max: 6 }),
      len: fc.integer({ min: 0, max: 4 }),
      fin: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
    }),
    fc.record({ takes: fc.integer({ min: 0, max: 60_000 }) }),
    fc.record({ limit: fc.integer({ min: -140_000, max: 120_000 }) }),
  );

  test("the window offered is what the host has room for, or what was offered before, and what comes within it is taken", () => {
    fc.assert(
      fc.property(fc.array(command, { maxLength: 60 }), fc.integer(), (commands, isn) => {
        const guest = new Guest(isn | 0);
        for (const each of commands) {
          if ("takes" in each) guest.take(each.takes);
          else if ("limit" in each) guest.peer.limit = each.limit;
          else guest.send(each.at * 4_000, each.len * 3_999, each.fin);
        }
      }),
      { numRuns: 500 },
    );
  });
});

/** A guest that sends a connection anything at all, and holds it to what it has offered. */
class Guest {
  readonly peer: Peer = new Peer(100_000);
  readonly #next: number;
  /** The furthest that was ever offered, in sequence numbers from the first byte. */
  #edge = 65_535;
  #fin = Number.POSITIVE_INFINITY;

  constructor(isn: number) {
    const { tcb } = this.peer;
    this.#next = seqAdd(isn, 1);
    this.peer.send = (segment) => this.#look(segment);
    tcb.offer(isn, 65_535, { ...tcpOptions(), mss: 1_460, windowScale: 7 }, 7_000, 1_460, 5);
    tcb.accept(1_000);
    this.#segment(0, 0, ACK);
  }

  send(distance: number, len: number, fin: boolean): void {
    const due = seqDiff(this.peer.tcb.rcvNxt, this.#next);
    const at = Math.max(0, due + distance);
    // The FIN stands where the window ends, and nothing behind it.
    if (fin && this.#fin === Number.POSITIVE_INFINITY) {
      this.#fin = this.#edge;
      this.#segment(due, this.#edge - due, ACK | FIN);
    } else if (at < this.#fin) this.#segment(at, Math.min(len, this.#fin - at), ACK);
  }

  take(len: number): void {
    this.peer.backlog -= Math.min(this.peer.backlog, len);
    this.peer.tcb.windowOpened(1_000);
  }

  #segment(at: number, len: number, flags: number): void {
    const bytes = new Uint8Array(20 + len);
    tcpWrite(bytes, 0, 1, 1, seqAdd(this.#next, at), 7_001, 20, flags, 65_535);
    tcpSeal(bytes, 0, 20 + len, bytes.length);
    const { tcb } = this.peer;
    const due = tcb.rcvNxt;
    const inside = seqDiff(due, this.#next) === at && len > 0 && at + len <= this.#edge && !tcb.finReceived;
    input(tcb, { bytes, scarce: false, pin() {}, unpin() {} }, 0, bytes.length, 1_000);
    if (inside) expect(seqDiff(tcb.rcvNxt, due)).toBeGreaterThanOrEqual(len);
    output(tcb, 1_000);
  }

  #look(segment: Uint8Array): void {
    const { tcb, limit, backlog } = this.peer;
    if (tcb.state < 4) return;
    const from = seqDiff(tcpAck(segment, 0), this.#next);
    const edge = from + tcpWindow(segment, 0) * 32;
    expect(edge).toBeLessThanOrEqual(Math.max(this.#edge + 32, from + Math.max(0, limit - backlog)));
    // Below so much the edge is taken back by a rounding at a time.
    this.#edge = limit - backlog <= -4_096 ? Math.max(edge, Math.min(this.#edge, edge)) : Math.max(this.#edge, edge);
  }
}
