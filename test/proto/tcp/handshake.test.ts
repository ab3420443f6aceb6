/** How connections begin: RFC 9293 sections 3.5 and 3.10.7.1 to 3.10.7.3. */
import { describe, expect, test } from "vitest";
import { addressFromText } from "../../../src/core/address.ts";
import { IsnGenerator } from "../../../src/proto/tcp/isn.ts";
import { proves } from "../../cases/proves.ts";
import { PacketScript } from "../../support/packet-script.ts";
import { SeededRandom } from "../../support/random.ts";
import { dialled, dialling, forwarded } from "./roles.ts";

const FAR = addressFromText("198.51.100.1");
const GUEST = addressFromText("10.0.2.15");

describe("a guest dials out", () => {
  test(
    proves("tcp.handshake.ack-isn-1", "RFC 9293 section 3.5: the SYN-ACK acknowledges ISN + 1, across 2^32 too"),
    () => {
      for (const isn of [10_000, 0, 0xffff_ffff, 0x7fff_ffff]) {
        const tcp = new PacketScript().tcp({ isn });
        tcp.send({ flags: "SYN", seq: 0, options: { mss: 1460 } });
        tcp.expect({ flags: "SYN ACK", ack: 1 });
      }
    },
  );

  test(proves("tcp.handshake.mss-link", "RFC 9293 section 3.7.1: the MSS offered is the link's, less headers"), () => {
    for (const mtu of [1500, 9000, 65_520]) {
      const tcp = new PacketScript({ mtu }).tcp();
      tcp.send({ flags: "SYN", seq: 0, options: { mss: 65_000 } });
      tcp.expect({ flags: "SYN ACK", options: { mss: mtu - 40 } });
    }
  });

  test(
    proves("tcp.handshake.only-offered-options", "RFC 7323 section 1.3: no option that was not offered, each alone"),
    () => {
      const offers = [{}, { windowScale: 7 }, { sackPermitted: true }, { timestamps: [9, 0] as const }];
      for (const offer of offers) {
        const tcp = new PacketScript().tcp();
        tcp.send({ flags: "SYN", seq: 0, options: offer });
        const { options } = tcp.expect({ flags: "SYN ACK" }).tcp!;
        expect(Object.keys(options).sort()).toEqual(["mss", ...Object.keys(offer)].sort());
      }
    },
  );

  test(proves("tcp.handshake.offered-options", "RFC 7323, RFC 2018: scale, SACK and timestamps are taken up"), () => {
    const tcp = new PacketScript().tcp();
    tcp.send({
      flags: "SYN",
      seq: 0,
      options: { mss: 1460, windowScale: 7, sackPermitted: true, timestamps: [77, 0] },
    });
    const { options } = tcp.expect({ flags: "SYN ACK", options: { sackPermitted: true } }).tcp!;
    expect(options.windowScale).toBeGreaterThan(0);
    expect(options.timestamps?.[1]).toBe(77);
  });

  test(proves("tcp.handshake.no-mss-536", "RFC 9293 section 3.7.1 (MUST-15): no MSS offered means 536"), () => {
    const { tcp, far } = dialled({ options: {} });
    far.send("x".repeat(1000));
    tcp.expect({ seq: 1 }, "x".repeat(536));
    tcp.expect({ seq: 537 }, "x".repeat(464));
  });

  test(
    proves("clients.grub", "GRUB's SYN, no options and a window of 8192: never more in flight, the bytes as they are"),
    () => {
      const script = new PacketScript();
      const tcp = script.tcp({ dstPort: 80 });
      tcp.establish({}, 8192);
      const page = `HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n${"x".repeat(9000)}`;
      script.host.dialled[0]!.send(page);
      for (let at = 0; at < page.length; at += 536) {
        tcp.expect({ seq: 1 + at }, page.slice(at, at + 536));
        if (at % 5360 === 4824) tcp.send({ flags: "ACK", seq: 1, ack: 537 + at, window: 8192 });
      }
      script.expectNothing();
    },
  );

  test(proves("tcp.handshake.mss-500", "RFC 9293 section 3.7.1 (MUST-16): an MSS of 500 is respected"), () => {
    const { tcp, far } = dialled({ options: { mss: 500 } });
    far.send("x".repeat(900));
    tcp.expect({ seq: 1 }, "x".repeat(500));
    tcp.expect({ seq: 501 }, "x".repeat(400));
  });

  test(proves("tcp.handshake.refused", "RFC 9293 section 3.10.7.1: refused is a RST with ack ISN + 1"), () => {
    const script = new PacketScript();
    script.host.answer = () => ({ refuse: "ECONNREFUSED" });
    const tcp = script.tcp();
    tcp.send({ flags: "SYN", seq: 0 });
    tcp.expect({ flags: "RST ACK", ack: 1 });
    script.expectNothing();
    expect(script.stack.flows()).toEqual([]);
  });

  test(proves("tcp.handshake.unreachable", "RFC 5461: unreachable is told at once, by ICMP and by a RST"), () => {
    for (const [why, code] of [
      ["EHOSTUNREACH", 1],
      ["ENETUNREACH", 0],
    ] as const) {
      const script = new PacketScript();
      script.host.answer = () => ({ refuse: why });
      const tcp = script.tcp();
      tcp.send({ flags: "SYN", seq: 0 });
      script.expect({ icmp: { type: 3, code } });
      tcp.expect({ flags: "RST ACK", ack: 1 });
      expect(script.stack.flows()).toEqual([]);
    }
  });

  test(
    proves("tcp.handshake.stray-ack", "RFC 9293 section 3.10.7.1: a stray ACK draws a RST with seq = SEG.ACK"),
    () => {
      const script = new PacketScript();
      const tcp = script.tcp();
      tcp.send({ flags: "ACK", seq: 5, ack: 77 }, "data");
      tcp.expect({ flags: "RST", seq: 77 });
      script.expectNothing();
    },
  );

  test(proves("tcp.handshake.stray-fin", "RFC 9293 section 3.10.7.1: a stray FIN draws a RST"), () => {
    const script = new PacketScript();
    const tcp = script.tcp();
    tcp.send({ flags: "FIN ACK", seq: 5, ack: 77 });
    tcp.expect({ flags: "RST", seq: 77 });
    tcp.send({ flags: "FIN", seq: 5 });
    tcp.expect({ flags: "RST ACK", ack: 6 });
    script.expectNothing();
  });

  test(proves("tcp.handshake.stray-rst", "RFC 9293 section 3.10.7.1: a stray RST draws silence"), () => {
    const script = new PacketScript();
    const tcp = script.tcp();
    tcp.send({ flags: "RST", seq: 5 });
    tcp.send({ flags: "RST ACK", seq: 5, ack: 77 });
    script.expectNothing();
    expect(script.dropped("tcp-no-flow")).toBe(2);
  });

  test(
    proves("tcp.handshake.duplicate-syn", "a SYN again: nothing while the host is dialled, then the same SYN-ACK"),
    () => {
      const script = new PacketScript();
      const tcp = script.tcp();
      for (let i = 0; i < 3; i++) tcp.send({ flags: "SYN", seq: 0, options: { mss: 1460 } });
      const isn = tcp.expect({ flags: "SYN ACK", ack: 1 }).tcp!.seq;
      script.takeAll();
      tcp.send({ flags: "SYN", seq: 0, options: { mss: 1460 } });
      expect(tcp.expect({ flags: "SYN ACK", ack: 1 }).tcp!.seq).toBe(isn);
      tcp.send({ flags: "ACK", seq: 1, ack: 1 }, "one connection");
      expect(script.host.dialled.length).toBe(1);
      expect(script.host.dialled[0]!.text).toBe("one connection");
    },
  );

  test(proves("tcp.handshake.syn-ack-again", "RFC 6298 section 2: the SYN-ACK goes again after 1 s, 2 s, 4 s"), () => {
    const script = new PacketScript();
    const tcp = script.tcp();
    tcp.send({ flags: "SYN", seq: 0 });
    const isn = tcp.expect({ flags: "SYN ACK", ack: 1 }).tcp!.seq;
    for (const pause of [1000, 2000, 4000]) {
      expect(script.advanceUntilFrame()).toBe(pause);
      expect(tcp.expect({ flags: "SYN ACK", ack: 1 }).tcp!.seq).toBe(isn);
    }
    tcp.send({ flags: "ACK", seq: 1, ack: 1 });
    script.expectNothing();
  });

  test("RFC 9293 section 3.8.3 (MUST-23): a guest that never completes is given up after three minutes", () => {
    const script = new PacketScript();
    const tcp = script.tcp();
    tcp.send({ flags: "SYN", seq: 0 });
    script.advance(179_000);
    expect(script.stack.flows().length).toBe(1);
    script.advance(60_000);
    expect(script.stack.flows()).toEqual([]);
    expect(script.host.dialled[0]!.closed).toBe("ECONNRESET");
  });

  test("RFC 6298 section 5.7, RFC 5681 section 3.1: after a lost SYN-ACK, 3 s of time-out and one segment", () => {
    const script = new PacketScript();
    const tcp = script.tcp();
    tcp.send({ flags: "SYN", seq: 0, options: { mss: 1460 } });
    tcp.expect({ flags: "SYN ACK" });
    script.advanceUntilFrame();
    tcp.expect({ flags: "SYN ACK" });
    tcp.send({ flags: "ACK", seq: 1, ack: 1 });
    script.host.dialled[0]!.send("x".repeat(5000));
    tcp.expect({ seq: 1 }, "x".repeat(1460));
    script.expectNothing();
    expect(script.advanceUntilFrame()).toBe(3000);
  });

  test(
    proves("tcp.handshake.syn-data", "RFC 9293 section 3.10.7.2: data on a SYN is sent again, and delivered once"),
    () => {
      const script = new PacketScript();
      const tcp = script.tcp();
      tcp.send({ flags: "SYN", seq: 0 }, "hello");
      tcp.expect({ flags: "SYN ACK", ack: 1 });
      tcp.send({ flags: "ACK", seq: 1, ack: 1 }, "hello");
      tcp.expect({ flags: "ACK", ack: 6 });
      expect(script.host.dialled[0]!.text).toBe("hello");
    },
  );

  test("RFC 9293 section 3.10.7.4: in SYN-RECEIVED an ACK of something else draws a RST, and a RST ends it", () => {
    const script = new PacketScript();
    const tcp = script.tcp();
    tcp.send({ flags: "SYN", seq: 0 });
    tcp.expect({ flags: "SYN ACK" });
    tcp.send({ flags: "ACK", seq: 1, ack: 99 });
    tcp.expect({ flags: "RST", seq: 99 });
    tcp.send({ flags: "RST", seq: 1 });
    script.expectNothing();
    expect(script.host.dialled[0]!.closed).toBe("ECONNRESET");
    expect(script.stack.flows()).toEqual([]);
  });

  test("a guest that restarts while its host is dialled: the newer SYN counts", () => {
    const script = new PacketScript();
    const tcp = script.tcp();
    const again = script.tcp({ isn: 5_000_000 });
    script.sendBatch(
      tcp.frame({ flags: "SYN", seq: 0, options: { mss: 1460 } }),
      again.frame({ flags: "SYN", seq: 0, options: { mss: 700 } }),
    );
    again.expect({ flags: "SYN ACK", ack: 1 });
    again.send({ flags: "ACK", seq: 1, ack: 1 });
    script.host.dialled[0]!.send("x".repeat(800));
    again.expect({ seq: 1 }, "x".repeat(700));
    expect(script.host.dialled.length).toBe(1);
  });
});

describe("a forward dials the guest", () => {
  test(
    proves("tcp.forwards.active-open", "RFC 9293 section 3.10.7.3: SYN, SYN-ACK, ACK; then bytes both ways"),
    async () => {
      const { script, tcp, far } = await dialling();
      const { options } = tcp.expect({ flags: "SYN", seq: 0, options: { mss: 1460, sackPermitted: true } }).tcp!;
      expect(options.windowScale).toBeGreaterThan(0);
      expect(options.timestamps).toBeDefined();
      tcp.send({ flags: "SYN ACK", seq: 0, ack: 1, options: { mss: 1000 } });
      tcp.expect({ flags: "ACK", seq: 1, ack: 1 });
      tcp.send({ flags: "ACK", seq: 1, ack: 1 }, "from the guest");
      tcp.expect({ flags: "ACK", ack: 15 });
      far.send("x".repeat(1200));
      tcp.expect({ seq: 1 }, "x".repeat(1000));
      tcp.expect({ seq: 1001 }, "x".repeat(200));
      expect(far.text).toBe("from the guest");
      script.expectNothing();
    },
  );

  test(
    proves("tcp.forwards.guest-rst", "RFC 9293 section 3.10.7.3: the guest's RST resets the host's client"),
    async () => {
      const { script, tcp, far } = await dialling();
      tcp.expect({ flags: "SYN" });
      tcp.send({ flags: "RST ACK", seq: 0, ack: 77 });
      expect(far.closed, "a RST with a wrong ACK is nothing").toBe(undefined);
      tcp.send({ flags: "RST ACK", seq: 0, ack: 1 });
      expect(far.closed).toBe("ECONNRESET");
      expect(script.stack.flows()).toEqual([]);
    },
  );

  test(
    proves("tcp.forwards.silent-guest", "RFC 9293 section 3.8.3: the SYN goes again for three minutes, then a reset"),
    async () => {
      const { script, tcp, far } = await dialling();
      tcp.expect({ flags: "SYN" });
      for (const pause of [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000]) {
        expect(script.advanceUntilFrame()).toBe(pause);
        tcp.expect({ flags: "SYN" });
        expect(far.closed).toBe(undefined);
      }
      script.advance(60_000);
      script.expectNothing();
      expect(far.closed).toBe("ECONNRESET");
      expect(script.stack.flows()).toEqual([]);
    },
  );

  test("RFC 9293 section 3.10.7.3: an ACK of something else draws a RST, and the SYN is still good", async () => {
    const { tcp, far } = await dialling();
    tcp.expect({ flags: "SYN" });
    tcp.send({ flags: "ACK", seq: 50, ack: 99 });
    tcp.expect({ flags: "RST", seq: 99 });
    tcp.send({ flags: "SYN ACK", seq: 0, ack: 1 });
    tcp.expect({ flags: "ACK", ack: 1 });
    expect(far.closed).toBe(undefined);
  });

  test("RFC 9293 section 3.5, figure 7: both open at once", async () => {
    const { script, tcp, far } = await dialling();
    tcp.expect({ flags: "SYN" });
    tcp.send({ flags: "SYN", seq: 0, options: { mss: 1460 } });
    tcp.expect({ flags: "SYN ACK", ack: 1 });
    tcp.send({ flags: "SYN ACK", seq: 0, ack: 1, options: { mss: 1460 } });
    tcp.expect({ flags: "ACK", seq: 1, ack: 1 });
    far.send("hello");
    tcp.expect({ seq: 1 }, "hello");
    script.expectNothing();
  });

  test("a SYN-ACK again, since our ACK was lost, is acknowledged again", async () => {
    const { script, tcp } = await forwarded();
    tcp.send({ flags: "SYN ACK", seq: 0, ack: 1, options: { mss: 1460 } });
    tcp.expect({ flags: "ACK", seq: 1, ack: 1 });
    script.expectNothing();
  });
});

describe("initial sequence numbers", () => {
  test(
    proves(
      ["tcp.handshake.isn", "bad.tcp.isn"],
      "RFC 6528 section 3: M + F(4-tuple, secret): a clock for one, unrelated for two",
    ),
    () => {
      const one = new IsnGenerator(new SeededRandom(1));
      const two = new IsnGenerator(new SeededRandom(2));
      const at = (g: IsnGenerator, port: number, now: number): number => g.next(FAR, 80, GUEST, port, now);
      expect((at(one, 1000, 2000) - at(one, 1000, 1000)) | 0).toBe(250_000);
      expect(at(one, 1000, 1000)).not.toBe(at(two, 1000, 1000));
      // Differences between neighbouring ports are spread over the whole space: no counter to guess from.
      const steps = Array.from({ length: 1000 }, (_, i) => (at(one, 2001 + i, 1000) - at(one, 2000 + i, 1000)) >>> 0);
      expect(new Set(steps).size).toBe(1000);
      for (let quarter = 0; quarter < 4; quarter++) {
        const share = steps.filter((step) => step >>> 30 === quarter).length;
        expect(share).toBeGreaterThan(150);
      }
    },
  );
});
