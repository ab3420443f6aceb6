/** What is sent, when, and when again: RFC 9293 section 3.8, RFC 6298, RFC 5681, RFC 6675, RFC 8985, RFC 3042. */
import { describe, expect, test } from "vitest";
import { ESTABLISHED } from "../../../src/proto/tcp/types.ts";
import { proves } from "../../cases/proves.ts";
import { Pair } from "../../support/tcb-pair.ts";
import { dialled, OPTIONS, ROLES, SEGMENT } from "./roles.ts";

/** Segments of letters, so that a script shows which one came. */
function letters(count: number): string {
  return Array.from({ length: count }, (_, i) => String.fromCharCode(97 + i).repeat(SEGMENT)).join("");
}

function letter(i: number): string {
  return String.fromCharCode(97 + i).repeat(SEGMENT);
}

const start = (i: number): number => 1 + i * SEGMENT;

describe.each(ROLES)("%s", (name, connect) => {
  test(
    proves(
      "tcp.send.rto-doubles",
      "RFC 6298 section 5.5: the pause before each retransmission doubles, and the twelfth is the last",
    ),
    async () => {
      const { script, tcp, far } = await connect();
      far.send("data");
      tcp.expect({ seq: 1 }, "data");
      let pause = script.advanceUntilFrame();
      expect(pause).toBeGreaterThanOrEqual(200);
      for (let i = 1; i <= 12; i++) {
        tcp.expect({ seq: 1 }, "data");
        const next = script.advanceUntilFrame();
        expect(next).toBe(Math.min(60_000, 2 * pause));
        pause = next;
      }
      tcp.expect({ flags: "RST ACK", seq: 5 });
      expect(far.closed).toBe("ECONNRESET");
      expect(script.stack.flows()).toEqual([]);
    },
  );

  test(
    proves(
      "tcp.send.fast-retransmit",
      "RFC 5681 section 3.2: the third duplicate ACK retransmits at once; a partial ACK the next hole (RFC 6582)",
    ),
    async () => {
      const { script, tcp, far } = await connect({ options: { mss: SEGMENT } });
      far.send(letters(6));
      script.takeAll();
      for (let i = 0; i < 2; i++) tcp.send({ flags: "ACK", seq: 1, ack: 1 });
      script.expectNothing();
      tcp.send({ flags: "ACK", seq: 1, ack: 1 });
      tcp.expect({ seq: start(0) }, letter(0));
      script.expectNothing();
      tcp.send({ flags: "ACK", seq: 1, ack: start(3) });
      tcp.expect({ seq: start(3) }, letter(3));
      script.expectNothing();
      tcp.send({ flags: "ACK", seq: 1, ack: start(6) });
      script.expectNothing();
    },
  );

  test(proves("tcp.send.sack-recovery", "RFC 6675 section 5: the holes are sent again, and nothing else"), async () => {
    const { script, tcp, far } = await connect();
    far.send(letters(10));
    script.takeAll();
    for (const i of [1, 2, 4, 5, 6, 8, 9]) {
      const sack = i < 3 ? [[start(1), start(i + 1)]] : [[start(i), start(i + 1)]];
      tcp.send({ flags: "ACK", seq: 1, ack: 1, options: { sack: sack as [number, number][] } });
    }
    const again = script.takeAll().map((frame) => Buffer.from(frame.payload).toString()[0]);
    expect(again).toEqual(["a", "d", "h"]);
    tcp.send({ flags: "ACK", seq: 1, ack: start(10) });
    script.advance(60_000);
    script.expectNothing();
  });

  test(
    proves("tcp.send.limited-transmit", "RFC 3042 section 2: the first two duplicate ACKs let one new segment go each"),
    async () => {
      const { script, tcp, far } = await connect();
      far.send(letters(13));
      expect(script.takeAll().length).toBe(10);
      tcp.send({ flags: "ACK", seq: 1, ack: 1, options: { sack: [[start(1), start(2)]] } });
      tcp.expect({ seq: start(10) }, letter(10));
      script.expectNothing();
      tcp.send({ flags: "ACK", seq: 1, ack: 1, options: { sack: [[start(1), start(3)]] } });
      tcp.expect({ seq: start(11) }, letter(11));
      script.expectNothing();
    },
  );

  test(
    proves(
      "tcp.send.tail-loss",
      "RFC 8985 section 7: a lost tail is found by sending its last segment again, long before the time-out",
    ),
    async () => {
      const { script, tcp, far } = await connect();
      far.send(letters(5));
      script.takeAll();
      expect(script.advanceUntilFrame()).toBeLessThanOrEqual(20);
      tcp.expect({ seq: start(4) }, letter(4));
      tcp.send({ flags: "ACK", seq: 1, ack: start(2), options: { sack: [[start(4), start(5)]] } });
      // One report is not loss yet; silence is.
      expect(script.advanceUntilFrame()).toBeLessThanOrEqual(250);
      tcp.expect({ seq: start(2) }, letter(2));
    },
  );

  test(
    proves("tcp.send.initial-window", "RFC 6928: ten segments at first, and one more for each that is acknowledged"),
    async () => {
      const { script, tcp, far } = await connect();
      far.send("x".repeat(100 * SEGMENT));
      expect(script.takeAll().length).toBe(10);
      tcp.send({ flags: "ACK", seq: 1, ack: start(4) });
      expect(script.takeAll().length).toBe(8);
    },
  );

  test(proves("tcp.send.window-respected", "RFC 9293 section 3.8: not a byte beyond the guest's window"), async () => {
    const { script, tcp, far } = await connect({ window: 4_000 });
    far.send("x".repeat(20_000));
    let edge = 1 + 4_000;
    let acked = 1;
    for (let round = 0; round < 10; round++) {
      const frames = script.takeAll();
      if (frames.length === 0) script.advanceUntilFrame();
      for (const { tcp: t, payload } of [...frames, ...script.takeAll()]) {
        const end = ((t!.seq - tcp.peerIsn) >>> 0) + payload.length;
        expect(end).toBeLessThanOrEqual(edge);
        acked = Math.max(acked, end);
      }
      const window = 1_000 + 300 * round;
      edge = Math.max(edge, acked + window);
      tcp.send({ flags: "ACK", seq: 1, ack: acked, window });
    }
    expect(acked).toBeGreaterThan(10_000);
  });

  test(
    proves(
      "tcp.send.window-scaled",
      "RFC 7323 section 2.2: a SYN's window is not scaled, every other is, by the guest's shift",
    ),
    async () => {
      const { script, tcp, far } = await connect({ options: { mss: 500, windowScale: 4 }, window: 250 });
      far.send("x".repeat(20_000));
      const sent = (): number => script.takeAll().reduce((n, frame) => n + frame.payload.length, 0);
      // A guest that dials has said a second, scaled window; one that was dialled only its SYN-ACK's.
      const first = sent();
      expect(first).toBe(name.startsWith("passive") ? 4_000 : 250);
      tcp.send({ flags: "ACK", seq: 1, ack: 1 + first, window: 250 });
      expect(sent()).toBe(4_000);
    },
  );

  test(
    proves(
      "tcp.send.window-shrunk",
      "RFC 9293 section 3.8.6: a window that shrinks is tolerated: nothing new, nothing lost, no give-up",
    ),
    async () => {
      const { script, tcp, far } = await connect();
      far.send(letters(4));
      script.takeAll();
      tcp.send({ flags: "ACK", seq: 1, ack: start(1), window: 1_000 });
      script.expectNothing();
      script.advance(300);
      for (const frame of script.takeAll()) {
        expect(((frame.tcp!.seq - tcp.peerIsn) >>> 0) + frame.payload.length).toBeLessThanOrEqual(start(4));
      }
      tcp.send({ flags: "ACK", seq: 1, ack: start(4), window: 65_535 });
      far.send("more");
      tcp.expect({ seq: start(4) }, "more");
    },
  );

  test(
    proves(
      "tcp.send.zero-window-probe",
      "RFC 9293 section 3.8.6.1: a closed window is probed with a byte, ever more rarely; its reopening goes on from there",
    ),
    async () => {
      const { script, tcp, far } = await connect();
      tcp.send({ flags: "ACK", seq: 1, ack: 1, window: 0 });
      far.send("hello");
      script.expectNothing();
      const pauses = [0, 1, 2].map(() => {
        const pause = script.advanceUntilFrame();
        tcp.expect({ seq: 1 }, "h");
        tcp.send({ flags: "ACK", seq: 1, ack: 1, window: 0 });
        return pause;
      });
      expect(pauses[1]! / pauses[0]!).toBeCloseTo(2, 1);
      expect(pauses[2]! / pauses[1]!).toBeCloseTo(2, 1);
      tcp.send({ flags: "ACK", seq: 1, ack: 1, window: 1_000 });
      tcp.expect({ seq: 1 }, "hello");
      tcp.send({ flags: "ACK", seq: 1, ack: 6, window: 1_000 });
      script.advance(60_000);
      script.expectNothing();
    },
  );

  test(
    proves(
      "tcp.send.zero-window-minutes",
      "RFC 9293 section 3.8.6.1 (MUST-37): as long as the guest acknowledges, for ten minutes too; when it stops, not for ever",
    ),
    async () => {
      const { script, tcp, far } = await connect();
      tcp.send({ flags: "ACK", seq: 1, ack: 1, window: 0 });
      far.send("hello");
      const until = script.clock.now() + 600_000;
      while (script.clock.now() < until) {
        expect(script.advanceUntilFrame()).toBeLessThanOrEqual(10_000);
        tcp.expect({ seq: 1 }, "h");
        tcp.send({ flags: "ACK", seq: 1, ack: 1, window: 0 });
      }
      expect(far.closed).toBe(undefined);
      script.advance(600_000);
      expect(script.takeAll().at(-1)!.tcp!.flags).toBe("RST ACK");
      expect(far.closed).toBe("ECONNRESET");
    },
  );

  test(
    proves(
      "tcp.send.silly-window",
      "RFC 9293 section 3.8.6.2.1: into a window of a few bytes nothing goes but by the override's time-out",
    ),
    async () => {
      const { script, tcp, far } = await connect();
      tcp.send({ flags: "ACK", seq: 1, ack: 1, window: 50 });
      far.send("x".repeat(5_000));
      script.expectNothing();
      expect(script.advanceUntilFrame()).toBeGreaterThanOrEqual(200);
      tcp.expect({ seq: 1 }, "x".repeat(50));
      script.expectNothing();
    },
  );
});

describe("segments and windows", () => {
  test("RFC 9293 section 3.8.6.2.1: half the largest window is the largest segment, so that a guest acknowledges at once", () => {
    const { script, tcp, far } = dialled({ window: 2_000 });
    far.send("x".repeat(5_000));
    tcp.expect({ seq: 1 }, "x".repeat(1_000));
    tcp.expect({ seq: 1_001 }, "x".repeat(1_000));
    script.expectNothing();
  });

  test("RFC 5681 section 4.1 put aside: the window is kept over a pause (see congestion.ts)", () => {
    const { script, tcp, far } = dialled();
    far.send("x".repeat(20 * SEGMENT));
    script.takeAll();
    tcp.send({ flags: "ACK", seq: 1, ack: start(10) });
    script.takeAll();
    tcp.send({ flags: "ACK", seq: 1, ack: start(20) });
    script.advance(600_000);
    far.send("x".repeat(20 * SEGMENT));
    expect(script.takeAll().length).toBe(20);
  });

  test("the first 256 KiB of a connection are there within five round trips", () => {
    const pair = new Pair({ delay: 0.5 });
    const bytes = new Uint8Array(262_144);
    pair.run(() => pair.a.tcb.state === ESTABLISHED && pair.b.tcb.state === ESTABLISHED);
    const from = pair.now;
    pair.a.tcb.send(bytes, 0, bytes.length, pair.now);
    pair.run(() => pair.b.receivedBytes === bytes.length);
    expect(pair.now - from).toBeLessThanOrEqual(5);
  });
});

describe("recovery", () => {
  test("a repair that is lost again is sent again as soon as something sent after it is reported", () => {
    const { script, tcp, far } = dialled();
    far.send(letters(20));
    script.takeAll();
    for (let i = 2; i <= 4; i++) {
      tcp.send({ flags: "ACK", seq: 1, ack: 1, options: { sack: [[start(1), start(i)]] } });
    }
    const first = script.takeAll().map((frame) => Buffer.from(frame.payload).toString()[0]);
    expect(first).toContain("a");
    for (let i = 5; i <= 12; i++) {
      tcp.send({ flags: "ACK", seq: 1, ack: 1, options: { sack: [[start(1), start(i)]] } });
    }
    const sent = script.takeAll().map((frame) => Buffer.from(frame.payload).toString()[0]);
    tcp.send({ flags: "ACK", seq: 1, ack: 1, options: { sack: [[start(1), start(12 + sent.length)]] } });
    const second = [...sent, ...script.takeAll().map((frame) => Buffer.from(frame.payload).toString()[0])];
    expect(second).toContain("a");
    expect(script.clock.now()).toBeLessThan(1_050);
  });

  test("RFC 3522 (Eifel): a guest that only paused gets nothing twice after the first segment, and its window back", () => {
    const options = { ...OPTIONS, timestamps: [1_000, 0] as const };
    const { script, tcp, far } = dialled({ options, ends: { timestamps: true } });
    const size = SEGMENT - 12;
    far.send("x".repeat(5 * size));
    const stamp = script.takeAll()[0]!.tcp!.options.timestamps![0];
    script.advance(1_000);
    const again = script.takeAll().length;
    const echo = { timestamps: [Math.floor(script.clock.now()), stamp] as const };
    tcp.send({ flags: "ACK", seq: 1, ack: 1 + size, options: echo });
    script.expectNothing();
    expect(again).toBeLessThanOrEqual(4);
    far.send("y".repeat(3 * size));
    expect(script.takeAll().length).toBe(3);
  });

  test("RFC 6298 section 3 (Karn): a segment sent twice does not count as a round trip", () => {
    const { script, tcp, far } = dialled();
    far.send("data");
    script.takeAll();
    script.advance(5_000);
    script.takeAll();
    tcp.send({ flags: "ACK", seq: 1, ack: 5 });
    far.send("next");
    tcp.expect({ seq: 5 }, "next");
    // Backed off still (section 5.7), not five seconds and more.
    expect(script.advanceUntilFrame()).toBeLessThanOrEqual(6_400);
  });

  test("RFC 2018 section 8: after a time-out what was reported is not believed any more", () => {
    const { script, tcp, far } = dialled();
    far.send(letters(3));
    script.takeAll();
    tcp.send({ flags: "ACK", seq: 1, ack: 1, options: { sack: [[start(1), start(3)]] } });
    script.advance(1_000);
    script.takeAll();
    tcp.send({ flags: "ACK", seq: 1, ack: start(1) });
    expect(Buffer.from(script.takeAll()[0]!.payload).toString()[0]).toBe("b");
  });

  test("RFC 9293 section 3.8: bytes sent again that acknowledge more bring the window that counts from there", () => {
    const { script, tcp, far } = dialled({ window: 8_000 });
    tcp.send({ flags: "ACK", seq: 1, ack: 1, window: 8_000 }, "x");
    tcp.expect({ flags: "ACK", ack: 2 });
    far.send(new Uint8Array(40_000));
    const sent = script.takeAll().reduce((sum, frame) => sum + frame.payload.length, 0);
    expect(sent).toBeLessThanOrEqual(8_000);
    tcp.send({ flags: "ACK", seq: 1, ack: 1 + sent, window: 3_000 }, "x");
    const more = script.takeAll().reduce((sum, frame) => sum + frame.payload.length, 0);
    expect(more).toBeGreaterThan(0);
    expect(more).toBeLessThanOrEqual(3_000);
  });
});
