/** How connections end: RFC 9293 sections 3.6 and 3.10.7.4, RFC 6191, RFC 1337; and how a guest is given up. */
import { describe, expect, test } from "vitest";
import { proves } from "../../cases/proves.ts";
import { PacketScript } from "../../support/packet-script.ts";
import { dialled, ROLES } from "./roles.ts";

describe.each(ROLES)("%s", (_name, connect) => {
  test(
    proves("tcp.close.half-close-guest", "RFC 9293 section 3.6: the guest closes first and goes on receiving"),
    async () => {
      const { script, tcp, far } = await connect();
      tcp.send({ flags: "FIN ACK", seq: 1, ack: 1 }, "last");
      tcp.expect({ flags: "ACK", ack: 6 });
      expect(far.text).toBe("last");
      expect(far.ended).toBe(true);
      script.advance(60_000);
      far.send("still here");
      tcp.expect({ flags: "ACK", seq: 1 }, "still here");
      tcp.send({ flags: "ACK", seq: 6, ack: 11 });
      far.end();
      tcp.expect({ flags: "FIN ACK", seq: 11, ack: 6 });
      tcp.send({ flags: "ACK", seq: 6, ack: 12 });
      expect(far.closed).toBe(null);
      expect(script.stack.flows()).toEqual([]);
    },
  );

  test(
    proves("tcp.close.half-close-host", "RFC 9293 section 3.6: the host closes first and goes on receiving"),
    async () => {
      const { script, tcp, far } = await connect();
      far.send("last");
      far.end();
      tcp.expect({ seq: 1 }, "last");
      tcp.expect({ flags: "FIN ACK", seq: 5, ack: 1 });
      tcp.send({ flags: "ACK", seq: 1, ack: 6 });
      script.advance(60_000);
      tcp.send({ flags: "ACK", seq: 1, ack: 6 }, "still here");
      tcp.expect({ flags: "ACK", seq: 6, ack: 11 });
      expect(far.text).toBe("still here");
      tcp.send({ flags: "FIN ACK", seq: 11, ack: 6 });
      tcp.expect({ flags: "ACK", seq: 6, ack: 12 });
      expect(far.closed).toBe(null);
      script.advance(2_000);
      expect(script.stack.flows()).toEqual([]);
    },
  );

  test(
    proves("tcp.close.fin-again", "RFC 9293 section 3.8.1: an unacknowledged FIN goes again, with back-off"),
    async () => {
      const { script, tcp, far } = await connect();
      far.end();
      tcp.expect({ flags: "FIN ACK", seq: 1, ack: 1 });
      const first = script.advanceUntilFrame();
      tcp.expect({ flags: "FIN ACK", seq: 1, ack: 1 });
      expect(script.advanceUntilFrame()).toBe(2 * first);
      tcp.expect({ flags: "FIN ACK", seq: 1, ack: 1 });
      tcp.send({ flags: "ACK", seq: 1, ack: 2 });
      script.advance(60_000);
      script.expectNothing();
    },
  );

  test(
    proves(
      "tcp.close.host-rst",
      "RFC 9293 section 3.10.5: the host's RST is a RST for the guest, at the edge of its window",
    ),
    async () => {
      const { script, tcp, far } = await connect();
      far.send("abc");
      tcp.expect({ seq: 1 }, "abc");
      far.reset();
      tcp.expect({ flags: "RST ACK", seq: 4, ack: 1 });
      script.expectNothing();
      expect(script.stack.flows()).toEqual([]);
    },
  );

  test(
    proves("tcp.close.guest-rst", "the guest's RST is a reset for the host, in every state, and never an end"),
    async () => {
      const half = await connect();
      half.tcp.send({ flags: "FIN ACK", seq: 1, ack: 1 });
      half.tcp.expect({ flags: "ACK", ack: 2 });
      half.tcp.send({ flags: "RST", seq: 2 });
      expect(half.far.closed).toBe("ECONNRESET");
      const closing = await connect();
      closing.far.end();
      closing.tcp.expect({ flags: "FIN ACK" });
      closing.tcp.send({ flags: "RST ACK", seq: 1, ack: 1 });
      expect(closing.far.closed).toBe("ECONNRESET");
      expect(closing.far.ended).toBe(false);
      expect(closing.script.stack.flows()).toEqual([]);
    },
  );

  test(
    proves("tcp.close.simultaneous", "RFC 9293 section 3.6, case 3: both close at once: CLOSING, then TIME-WAIT"),
    async () => {
      const { script, tcp, far } = await connect();
      far.end();
      tcp.expect({ flags: "FIN ACK", seq: 1, ack: 1 });
      tcp.send({ flags: "FIN ACK", seq: 1, ack: 1 });
      tcp.expect({ flags: "ACK", seq: 2, ack: 2 });
      expect(far.closed).toBe(null);
      tcp.send({ flags: "ACK", seq: 2, ack: 2 });
      script.advance(2_000);
      script.expectNothing();
      expect(script.stack.flows()).toEqual([]);
    },
  );

  test("RFC 9293 section 3.10.7.4, eighth: a FIN again in TIME-WAIT is acknowledged and starts the wait anew", async () => {
    const { script, tcp, far } = await connect();
    far.end();
    tcp.expect({ flags: "FIN ACK" });
    tcp.send({ flags: "FIN ACK", seq: 1, ack: 2 });
    tcp.expect({ flags: "ACK", ack: 2 });
    script.advance(900);
    tcp.send({ flags: "FIN ACK", seq: 1, ack: 2 });
    tcp.expect({ flags: "ACK", ack: 2 });
    script.advance(900);
    expect(script.stack.flows().length).toBe(1);
    script.advance(200);
    expect(script.stack.flows()).toEqual([]);
  });

  test("RFC 1337 section 3: a RST in TIME-WAIT harms nothing that the host has yet to read", async () => {
    const { script, tcp, far } = await connect();
    far.stall();
    // More than the host's kernel takes: some of it still waits here when the reset comes.
    const end = 1 + 60 * 1460;
    for (let seq = 1; seq < end; seq += 1460) tcp.send({ flags: "ACK", seq, ack: 1 }, "x".repeat(1460));
    far.end();
    script.takeAll();
    tcp.send({ flags: "FIN ACK", seq: end, ack: 2 });
    tcp.send({ flags: "RST", seq: end + 1 });
    far.unstall();
    script.takeAll();
    expect(far.received.length).toBe(end - 1);
    expect(far.closed).toBe(null);
  });

  test("RFC 9293 section 3.8.4: an idle guest is asked after two hours, and given up when it does not answer", async () => {
    const { script, tcp, far } = await connect();
    expect(script.advanceUntilFrame(3 * 3_600_000)).toBe(2 * 3_600_000);
    tcp.expect({ flags: "ACK", seq: 0, ack: 1 }, "");
    tcp.send({ flags: "ACK", seq: 1, ack: 1 });
    expect(script.advanceUntilFrame(3 * 3_600_000)).toBe(2 * 3_600_000);
    script.advance(900_000);
    expect(script.takeAll().at(-1)!.tcp!.flags).toBe("RST ACK");
    expect(far.closed).toBe("ECONNRESET");
    expect(script.stack.flows()).toEqual([]);
  });
});

describe("a 4-tuple again", () => {
  test(
    proves(
      "tcp.close.time-wait-reuse",
      "RFC 6191 section 2: a newer SYN in TIME-WAIT opens a new connection, an old one is challenged",
    ),
    () => {
      for (const timestamps of [false, true]) {
        const options = { mss: 1460, ...(timestamps && { timestamps: [1_000, 0] as const }) };
        const { script, tcp, far } = dialled({ options, ends: { timestamps } });
        far.end();
        tcp.expect({ flags: "FIN ACK" });
        tcp.send({ flags: "FIN ACK", seq: 1, ack: 2 });
        tcp.expect({ flags: "ACK", ack: 2 });
        script.advance(10);
        const old = script.tcp({ isn: tcp.isn - 1000 });
        old.send({ flags: "SYN", seq: 0, options: timestamps ? { timestamps: [500, 0] } : {} });
        tcp.expect({ flags: "ACK", seq: 2, ack: 2 });
        const again = script.tcp({ isn: tcp.isn + 1000, timestamps });
        again.send({ flags: "SYN", seq: 0, options });
        again.expect({ flags: "SYN ACK", ack: 1 });
        again.send({ flags: "ACK", seq: 1, ack: 1 }, "anew");
        expect(script.host.dialled.length).toBe(2);
        expect(script.host.dialled[1]!.text).toBe("anew");
      }
    },
  );

  test(
    proves(
      "tcp.close.rebooted-guest",
      "RFC 5961 section 4.2: a rebooted guest's SYN is challenged, its RST ends the old connection, its SYN opens a new one",
    ),
    () => {
      const { script, tcp, far } = dialled();
      const again = script.tcp({ isn: 3_000_000_000 });
      again.send({ flags: "SYN", seq: 0, options: { mss: 1460 } });
      const challenge = tcp.expect({ flags: "ACK", seq: 1, ack: 1 }).tcp!;
      script.send({
        ip: { src: "10.0.2.15", dst: tcp.dst },
        tcp: { srcPort: tcp.srcPort, dstPort: tcp.dstPort, flags: "RST", seq: challenge.ack },
      });
      expect(far.closed).toBe("ECONNRESET");
      expect(script.stack.flows()).toEqual([]);
      again.send({ flags: "SYN", seq: 0, options: { mss: 1460 } });
      again.expect({ flags: "SYN ACK", ack: 1 });
      expect(script.host.dialled.length).toBe(2);
    },
  );

  test(
    proves(
      "tcp.close.nothing-left",
      "thousands of flows in sequence, of every kind of ending, leave no entry and no socket",
    ),
    () => {
      const script = new PacketScript();
      for (let i = 0; i < 2_000; i++) {
        script.host.answer = () => (i % 6 === 5 ? { refuse: "ECONNREFUSED" } : "accept");
        const tcp = script.tcp({ srcPort: 1_024 + (i % 60_000), isn: i * 1_000 });
        tcp.send({ flags: "SYN", seq: 0, options: { mss: 1460 } });
        const far = script.host.dialled.at(-1)!;
        if (i % 6 === 5) {
          tcp.expect({ flags: "RST ACK", ack: 1 });
          continue;
        }
        tcp.expect({ flags: "SYN ACK", ack: 1 });
        tcp.send({ flags: "ACK", seq: 1, ack: 1 }, "question");
        far.send("answer");
        if (i % 6 === 0) tcp.send({ flags: "RST", seq: 9 });
        else if (i % 6 === 1) far.reset();
        else if (i % 6 === 2) {
          tcp.send({ flags: "FIN ACK", seq: 9, ack: 7 });
          far.end();
          script.takeAll();
          tcp.send({ flags: "ACK", seq: 10, ack: 8 });
        } else {
          far.end();
          script.takeAll();
          tcp.send({ flags: "FIN ACK", seq: 9, ack: i % 6 === 3 ? 8 : 7 });
          if (i % 6 === 4) tcp.send({ flags: "ACK", seq: 10, ack: 8 });
        }
        script.takeAll();
      }
      script.advance(2_000);
      expect(script.stack.flows()).toEqual([]);
      expect(script.stack.gauges().sendBytes).toBe(0);
      expect(script.host.open).toBe(0);
      expect(script.stack.gauges().timers).toBe(0);
    },
  );
});
