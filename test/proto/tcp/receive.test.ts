/** What arrives: RFC 9293 section 3.10.7.4, RFC 5681 section 4.2, RFC 7323 section 5, RFC 5961. In both roles. */
import { describe, expect, test } from "vitest";
import { proves } from "../../cases/proves.ts";
import { dialled, OPTIONS, ROLES, SEGMENT } from "./roles.ts";

const STAMPED = { options: { ...OPTIONS, timestamps: [1_000, 0] as const }, ends: { timestamps: true } };

describe.each(ROLES)("%s", (_name, connect) => {
  test(proves("tcp.receive.one-byte", "one-byte segments arrive as they were sent, each acknowledged"), async () => {
    const { tcp, far } = await connect();
    const text = "byte by byte";
    for (let i = 0; i < text.length; i++) {
      tcp.send({ flags: "ACK", seq: 1 + i, ack: 1 }, text[i]);
      tcp.expect({ flags: "ACK", seq: 1, ack: 2 + i }, "");
    }
    expect(far.text).toBe(text);
  });

  test(
    proves("tcp.receive.ack-per-batch", "RFC 9293 section 3.8.6.3: one ACK for all the segments of a read"),
    async () => {
      const { script, tcp, far } = await connect();
      const frames = Array.from({ length: 20 }, (_, i) =>
        tcp.frame({ flags: "ACK", seq: 1 + 100 * i, ack: 1 }, "x".repeat(100)),
      );
      script.sendBatch(...frames);
      tcp.expect({ flags: "ACK", ack: 2001 }, "");
      script.expectNothing();
      expect(far.received.length).toBe(2000);
    },
  );

  test(
    proves("tcp.receive.out-of-order", "RFC 5681 section 4.2: a duplicate ACK at once for each, then one for the hole"),
    async () => {
      const { script, tcp, far } = await connect();
      script.sendBatch(
        tcp.frame({ flags: "ACK", seq: 4, ack: 1 }, "def"),
        tcp.frame({ flags: "ACK", seq: 10, ack: 1 }, "jkl"),
      );
      tcp.expect({ flags: "ACK", seq: 1, ack: 1 }, "");
      tcp.expect({ flags: "ACK", seq: 1, ack: 1 }, "");
      script.expectNothing();
      tcp.send({ flags: "ACK", seq: 1, ack: 1 }, "abc");
      tcp.expect({ flags: "ACK", ack: 7 }, "");
      tcp.send({ flags: "ACK", seq: 7, ack: 1 }, "ghi");
      tcp.expect({ flags: "ACK", ack: 13 }, "");
      expect(far.text).toBe("abcdefghijkl");
    },
  );

  test(
    proves("tcp.receive.sack-block", "RFC 2018 section 4: the latest block first, and gone when the hole is"),
    async () => {
      const { tcp } = await connect();
      tcp.send({ flags: "ACK", seq: 11, ack: 1 }, "one");
      tcp.expect({ flags: "ACK", ack: 1, options: { sack: [[11, 14]] } });
      tcp.send({ flags: "ACK", seq: 21, ack: 1 }, "two");
      tcp.expect({
        flags: "ACK",
        ack: 1,
        options: {
          sack: [
            [21, 24],
            [11, 14],
          ],
        },
      });
      tcp.send({ flags: "ACK", seq: 14, ack: 1 }, "x".repeat(7));
      tcp.expect({ flags: "ACK", ack: 1, options: { sack: [[11, 24]] } });
      tcp.send({ flags: "ACK", seq: 1, ack: 1 }, "x".repeat(10));
      expect(tcp.expect({ flags: "ACK", ack: 24 }).tcp!.options.sack).toBe(undefined);
    },
  );

  test("RFC 2018 section 3: no SACK blocks for a guest that did not permit them", async () => {
    const { tcp } = await connect({ options: { mss: 1460 } });
    tcp.send({ flags: "ACK", seq: 11, ack: 1 }, "one");
    expect(tcp.expect({ flags: "ACK", ack: 1 }).tcp!.options.sack).toBe(undefined);
  });

  test("RFC 2018 section 3: a hole is reported in a bare ACK, also while data flows the other way", async () => {
    const { tcp, far } = await connect();
    far.send("x".repeat(SEGMENT));
    tcp.expect({ seq: 1 });
    far.send("y".repeat(100));
    tcp.send({ flags: "ACK", seq: 11, ack: 1 }, "one");
    tcp.expect({ seq: 1 + SEGMENT }, "y".repeat(100));
    tcp.expect({ flags: "ACK", ack: 1, options: { sack: [[11, 14]] } }, "");
  });

  test(
    proves(
      "tcp.receive.overlap",
      "RFC 9293 section 3.10.7.4: overlaps deliver each byte once, and what is delivered stands",
    ),
    async () => {
      const { tcp, far } = await connect();
      tcp.send({ flags: "ACK", seq: 1, ack: 1 }, "abcdef");
      tcp.send({ flags: "ACK", seq: 4, ack: 1 }, "DEFghi");
      tcp.send({ flags: "ACK", seq: 15, ack: 1 }, "opq");
      tcp.send({ flags: "ACK", seq: 12, ack: 1 }, "lmnOPQrs");
      tcp.send({ flags: "ACK", seq: 8, ack: 1 }, "HIjkLMNOPQRSt");
      expect(far.text.slice(0, 6)).toBe("abcdef");
      expect(far.received.length).toBe(20);
      expect(far.text.toLowerCase()).toBe("abcdefghijklmnopqrst");
    },
  );

  test(
    proves("tcp.receive.old-duplicate", "RFC 9293 section 3.10.7.4: old data is acknowledged and not delivered"),
    async () => {
      const { script, tcp, far } = await connect();
      tcp.send({ flags: "ACK", seq: 1, ack: 1 }, "abc");
      tcp.expect({ flags: "ACK", ack: 4 });
      tcp.send({ flags: "ACK", seq: 1, ack: 1 }, "abc");
      tcp.expect({ flags: "ACK", ack: 4 });
      tcp.send({ flags: "ACK", seq: 2, ack: 1 }, "bc");
      tcp.expect({ flags: "ACK", ack: 4 });
      script.expectNothing();
      expect(far.text).toBe("abc");
    },
  );

  test(
    proves("tcp.receive.beyond-window", "RFC 9293 section 3.10.7.4: beyond the window: an ACK, and nothing is kept"),
    async () => {
      const { tcp, far } = await connect();
      tcp.send({ flags: "ACK", seq: 1 + 1_000_000, ack: 1 }, "far away");
      expect(tcp.expect({ flags: "ACK", seq: 1, ack: 1 }).tcp!.options.sack).toBe(undefined);
      expect(far.text).toBe("");
    },
  );

  test(proves("tcp.receive.no-ack-flag", "RFC 9293 section 3.10.7.4, fifth: without ACK it is dropped"), async () => {
    const { script, tcp, far } = await connect();
    tcp.send({ flags: "PSH", seq: 1 }, "abc");
    tcp.send({ flags: "FIN", seq: 1 });
    tcp.send({ flags: "URG", seq: 1 }, "abc");
    script.expectNothing();
    expect(far.text).toBe("");
    expect(script.dropped("tcp-malformed")).toBe(3);
  });

  test(
    proves("tcp.receive.fin-out-of-order", "a FIN with data that comes first counts when what is before it has come"),
    async () => {
      const { tcp, far } = await connect();
      tcp.send({ flags: "FIN ACK", seq: 4, ack: 1 }, "def");
      tcp.expect({ flags: "ACK", ack: 1 });
      expect(far.ended).toBe(false);
      tcp.send({ flags: "ACK", seq: 1, ack: 1 }, "abc");
      tcp.expect({ flags: "ACK", ack: 7 });
      tcp.expect({ flags: "ACK", ack: 8 });
      expect(far.text).toBe("abcdef");
      expect(far.ended).toBe(true);
    },
  );

  test(
    proves(
      "tcp.receive.paws",
      "RFC 7323 section 5.3: an old timestamp is acknowledged and dropped, a RST is not judged by it",
    ),
    async () => {
      const { script, tcp, far } = await connect(STAMPED);
      script.advance(100);
      tcp.send({ flags: "ACK", seq: 1, ack: 1 }, "new");
      tcp.expect({ flags: "ACK", ack: 4 });
      tcp.send({ flags: "ACK", seq: 4, ack: 1, options: { timestamps: [500, 0] } }, "old");
      tcp.expect({ flags: "ACK", ack: 4 });
      expect(far.text).toBe("new");
      expect(script.dropped("tcp-paws")).toBe(1);
      tcp.send({ flags: "RST", seq: 4, options: { timestamps: [500, 0] } });
      expect(far.closed).toBe("ECONNRESET");
    },
  );

  test("RFC 7323 section 4.3: what has overtaken others, data or an ACK, does not make them old", async () => {
    const { script, tcp, far } = await connect(STAMPED);
    tcp.send({ flags: "ACK", seq: 4, ack: 1, options: { timestamps: [2_000, 0] } }, "def");
    tcp.expect({ flags: "ACK", ack: 1 });
    tcp.send({ flags: "ACK", seq: 7, ack: 1, options: { timestamps: [2_001, 0] } });
    script.expectNothing();
    tcp.send({ flags: "ACK", seq: 1, ack: 1, options: { timestamps: [1_990, 0] } }, "abc");
    tcp.expect({ flags: "ACK", ack: 7 });
    expect(far.text).toBe("abcdef");
    expect(script.dropped("tcp-paws")).toBe(0);
  });

  test("RFC 7323 section 5.3: an ACK that a later one has overtaken is dropped, and takes nothing back", async () => {
    const { script, tcp, far } = await connect(STAMPED);
    far.send("abcdef");
    tcp.expect({ flags: "PSH ACK", seq: 1 }, "abcdef");
    tcp.send({ flags: "ACK", seq: 1, ack: 7, window: 10, options: { timestamps: [2_005, 0] } });
    tcp.send({ flags: "ACK", seq: 1, ack: 4, window: 60_000, options: { timestamps: [2_000, 0] } });
    tcp.expect({ flags: "ACK", seq: 7, ack: 1 }, "");
    expect(script.dropped("tcp-paws")).toBe(1);
    far.send("ghi");
    tcp.expect({ flags: "PSH ACK", seq: 7 }, "ghi");
    script.advance(30_000);
    expect(far.closed).toBe(undefined);
  });

  test("RFC 7323 section 4.3: what is echoed is the timestamp of the segment that moved the left edge", async () => {
    const { tcp } = await connect({ ...STAMPED, ends: {} });
    tcp.send({ flags: "ACK", seq: 1, ack: 1, options: { timestamps: [2_000, 0] } }, "abc");
    expect(tcp.expect({ flags: "ACK", ack: 4 }).tcp!.options.timestamps?.[1]).toBe(2_000);
    tcp.send({ flags: "ACK", seq: 10, ack: 1, options: { timestamps: [2_100, 0] } }, "behind a hole");
    expect(tcp.expect({ flags: "ACK", ack: 4 }).tcp!.options.timestamps?.[1]).toBe(2_000);
  });

  test(
    proves("tcp.receive.wrap", "RFC 9293 section 3.4: sequence numbers wrap in the middle of segments, holes and FIN"),
    async () => {
      const { tcp, far } = await connect({ ends: { isn: 0xffff_fff0 } });
      tcp.send({ flags: "ACK", seq: 31, ack: 1 }, "d".repeat(10));
      tcp.expect({ flags: "ACK", ack: 1, options: { sack: [[31, 41]] } });
      tcp.send({ flags: "ACK", seq: 1, ack: 1 }, "a".repeat(30));
      tcp.expect({ flags: "ACK", ack: 41 });
      tcp.send({ flags: "FIN ACK", seq: 41, ack: 1 });
      tcp.expect({ flags: "ACK", ack: 42 });
      expect(far.text).toBe("a".repeat(30) + "d".repeat(10));
      expect(far.ended).toBe(true);
    },
  );

  test(
    proves(
      "tcp.receive.keepalive-probe",
      "RFC 9293 section 3.8.4: probes just before the window are answered, with a byte or without",
    ),
    async () => {
      const { script, tcp, far } = await connect();
      tcp.send({ flags: "ACK", seq: 0, ack: 1 });
      tcp.expect({ flags: "ACK", seq: 1, ack: 1 });
      tcp.send({ flags: "ACK", seq: 0, ack: 1 }, "\0");
      tcp.expect({ flags: "ACK", seq: 1, ack: 1 });
      script.expectNothing();
      expect(far.text).toBe("");
    },
  );

  test("RFC 5961 section 4, RFC 9293: two ends out of step do not answer each other's ACKs for ever", async () => {
    const { script, tcp } = await connect();
    for (let i = 0; i < 100; i++) tcp.send({ flags: "ACK", seq: 900_000, ack: 1 });
    expect(script.takeAll().length).toBeLessThanOrEqual(10);
    script.advance(1_000);
    tcp.send({ flags: "ACK", seq: 900_000, ack: 1 });
    tcp.expect({ flags: "ACK", seq: 1, ack: 1 });
  });

  test("after FIN nothing is data (RFC 9293 section 3.10.7.4, seventh)", async () => {
    const { tcp, far } = await connect();
    tcp.send({ flags: "FIN ACK", seq: 1, ack: 1 });
    tcp.expect({ flags: "ACK", ack: 2 });
    tcp.send({ flags: "ACK", seq: 2, ack: 1 }, "more");
    tcp.expect({ flags: "ACK", ack: 2 });
    expect(far.text).toBe("");
  });
});

describe.each(ROLES)("RFC 5961, %s", (_name, connect) => {
  test(proves("tcp.rfc5961.rst-outside", "section 3.2: a RST outside the window is ignored"), async () => {
    const { script, tcp, far } = await connect();
    for (const seq of [-5, 0, 1_000_000, 2 ** 31]) tcp.send({ flags: "RST", seq });
    script.expectNothing();
    expect(far.closed).toBe(undefined);
    expect(script.dropped("tcp-window")).toBe(4);
  });

  test(
    proves("tcp.rfc5961.rst-inexact", "section 3.2: a RST inside the window but inexact draws a challenge ACK"),
    async () => {
      const { script, tcp, far } = await connect();
      tcp.send({ flags: "RST", seq: 2 });
      tcp.expect({ flags: "ACK", seq: 1, ack: 1 }, "");
      script.expectNothing();
      expect(far.closed).toBe(undefined);
    },
  );

  test(proves("tcp.rfc5961.rst-exact", "section 3.2: an exact RST resets the host's side"), async () => {
    const { script, tcp, far } = await connect();
    tcp.send({ flags: "RST", seq: 1 });
    script.expectNothing();
    expect(far.closed).toBe("ECONNRESET");
    expect(script.stack.flows()).toEqual([]);
  });

  test(
    proves("tcp.rfc5961.syn-established", "section 4.2: a SYN, in the window or not, draws a challenge ACK"),
    async () => {
      const { script, tcp, far } = await connect();
      for (const seq of [0, 1, 5, 5_000_000]) {
        tcp.send({ flags: "SYN", seq });
        tcp.expect({ flags: "ACK", seq: 1, ack: 1 }, "");
      }
      script.expectNothing();
      expect(far.closed).toBe(undefined);
    },
  );

  test(
    proves(
      "tcp.rfc5961.ack-unsent",
      "RFC 9293 section 3.10.7.4, fifth: an ACK of what was not sent draws an ACK; its data is dropped",
    ),
    async () => {
      const { script, tcp, far } = await connect();
      tcp.send({ flags: "ACK", seq: 1, ack: 2 }, "abc");
      tcp.expect({ flags: "ACK", seq: 1, ack: 1 }, "");
      script.expectNothing();
      expect(far.text).toBe("");
    },
  );

  test(
    proves(
      "tcp.rfc5961.ack-too-old",
      "section 5.2: an ACK older than the largest window draws a challenge; a recent one is let pass",
    ),
    async () => {
      const { script, tcp, far } = await connect();
      tcp.send({ flags: "ACK", seq: 1, ack: -65_536 }, "abc");
      tcp.expect({ flags: "ACK", seq: 1, ack: 1 }, "");
      script.expectNothing();
      expect(far.text).toBe("");
      tcp.send({ flags: "ACK", seq: 1, ack: -100 }, "abc");
      tcp.expect({ flags: "ACK", ack: 4 }, "");
      expect(far.text).toBe("abc");
    },
  );

  test(
    proves(
      "bad.tcp.challenge-limit",
      "section 7: challenges are limited, and one connection's do not use up another's",
    ),
    async () => {
      const { script, tcp } = await connect();
      const other = script.tcp({ srcPort: 2_000 });
      other.establish();
      for (let i = 0; i < 100; i++) tcp.send({ flags: "SYN", seq: 5 });
      const answers = script.takeAll().length;
      expect(answers).toBeGreaterThan(0);
      expect(answers).toBeLessThanOrEqual(10);
      other.send({ flags: "SYN", seq: 5 });
      other.expect({ flags: "ACK", seq: 1, ack: 1 });
      script.advance(1_000);
      tcp.send({ flags: "SYN", seq: 5 });
      tcp.expect({ flags: "ACK", seq: 1, ack: 1 });
    },
  );
});

describe("windows that we offer", () => {
  test(
    proves(
      "tcp.send.stalled-host",
      "RFC 9293 section 3.8.6: a host that reads nothing closes the window; nothing is lost, and a window update reopens it",
    ),
    () => {
      const { script, tcp, far } = dialled();
      far.stall();
      let sent = 0;
      let window = 65_535;
      for (let i = 0; i < 1_000 && window > 0; i++) {
        const n = Math.min(window, SEGMENT);
        tcp.send({ flags: "ACK", seq: 1 + sent, ack: 1 }, "x".repeat(n));
        sent += n;
        window = script.takeAll().at(-1)!.tcp!.window;
      }
      expect(window).toBe(0);
      expect(sent).toBeLessThan(600_000);
      // A guest's probe of the closed window is answered, and its byte not taken (RFC 9293 section 3.8.6.1).
      tcp.send({ flags: "ACK", seq: 1 + sent, ack: 1 }, "y");
      tcp.expect({ flags: "ACK", ack: 1 + sent, window: 0 });
      far.unstall();
      tcp.expect({ flags: "ACK", ack: 1 + sent });
      expect(far.received.length).toBe(sent);
      tcp.send({ flags: "ACK", seq: 1 + sent, ack: 1 }, "y");
      expect(far.received.length).toBe(sent + 1);
    },
  );

  test(
    proves(
      "tcp.send.silly-window",
      "RFC 9293 section 3.8.6.2.2: a closed window opens by a segment at least, or not at all",
    ),
    () => {
      const { script, tcp, far } = dialled();
      far.stall();
      let sent = 0;
      let window = 65_535;
      while (window > 0) {
        const n = Math.min(window, 1000);
        tcp.send({ flags: "ACK", seq: 1 + sent, ack: 1 }, "x".repeat(n));
        sent += n;
        const next = script.takeAll().at(-1)!.tcp!.window;
        // It shrinks by what was sent: once it is small, no step less than a segment opens it again.
        expect(next === window - n || next >= 1460).toBe(true);
        window = next;
      }
      far.unstall();
      expect(script.takeAll().every((frame) => frame.tcp!.window >= 1460)).toBe(true);
    },
  );

  test("RFC 7323 section 2.4: a guest that lives on the rounding of the window cannot fill the host's memory", () => {
    const { script, tcp, far } = dialled({ options: { ...OPTIONS, windowScale: 7 } });
    far.stall();
    let seq = 1;
    for (let i = 0; i < 500; i++, seq += 1000) tcp.send({ flags: "ACK", seq, ack: 1 }, "x".repeat(1000));
    seq = script.takeAll().at(-1)!.tcp!.ack - (tcp.isn + 0);
    for (let i = 0; i < 20_000; i++) {
      tcp.send({ flags: "ACK", seq, ack: 1 }, "x");
      seq = (script.takeAll().at(-1)!.tcp!.ack - tcp.isn) >>> 0;
    }
    expect(seq).toBeLessThan(393_216 + 65_536 + 16_384);
  });
});
