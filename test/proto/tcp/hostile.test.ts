/** Segments that no honest guest sends, each from a published fault of some stack. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { proves } from "../../cases/proves.ts";
import { GATEWAY_MAC, PacketScript } from "../../support/packet-script.ts";
import { dialled, OPTIONS, ROLES, SEGMENT } from "./roles.ts";

/** The stack still answers ARP, and a new connection. */
function serves(script: PacketScript): void {
  script.takeAll();
  script.send({ arp: { targetIp: "10.0.2.2" } });
  script.expect({ arp: { op: "reply", senderMac: GATEWAY_MAC } });
  const tcp = script.tcp({ srcPort: 60_001 });
  tcp.establish();
  tcp.send({ flags: "ACK", seq: 1, ack: 1 }, "hello");
  tcp.expect({ flags: "ACK", ack: 6 });
  expect(script.host.dialled.at(-1)!.text).toBe("hello");
}

describe.each(ROLES)("%s", (_name, connect) => {
  test(
    proves("bad.tcp.urg-pointer", "CVE-2026-9539: an urgent pointer anywhere leaves the stream as it was sent"),
    async () => {
      const { script, tcp, far } = await connect();
      tcp.send({ flags: "URG ACK", seq: 1, ack: 1, urgent: 65_535 });
      tcp.send({ flags: "URG ACK", seq: 1, ack: 1, urgent: 5_000 }, "ab");
      tcp.send({ flags: "URG PSH ACK", seq: 3, ack: 1, urgent: 1 }, "cd");
      tcp.send({ flags: "ACK", seq: 5, ack: 1, urgent: 3 }, "ef");
      tcp.send({ flags: "URG FIN ACK", seq: 7, ack: 1, urgent: 0xffff });
      script.takeAll();
      expect(far.text).toBe("abcdef");
      expect(far.ended).toBe(true);
    },
  );

  test(proves("bad.tcp.mss-floor", "CVE-2019-11479: an MSS of 1 or 8 is taken as 64, of 0 as none"), async () => {
    for (const [mss, size] of [
      [0, 536],
      [1, 64],
      [8, 64],
      [63, 64],
      [65, 65],
    ] as const) {
      const { script, tcp, far } = await connect({ options: { mss } });
      far.send("x".repeat(200));
      tcp.expect({ seq: 1 }, "x".repeat(Math.min(200, size)));
      script.takeAll();
    }
  });

  test(
    proves(
      "bad.tcp.crafted-sack",
      "CVE-2019-11477, -11478: only sane SACK blocks count, and what they cause is bounded",
    ),
    async () => {
      const { script, tcp, far } = await connect();
      far.send("x".repeat(10 * SEGMENT));
      script.takeAll();
      const wild: [number, number][] = [
        [1, 2 ** 31],
        [0, 1],
        [5_000_000, 6_000_000],
        [900, 100],
        [7, 7],
        [-100, 2_000],
      ];
      for (const sack of wild) tcp.send({ flags: "ACK", seq: 1, ack: 1, options: { sack: [sack] } });
      script.expectNothing();
      // Every second byte reported: thousands of holes of one byte.
      for (let at = 1; at < 8_000; at += 8) {
        const sack = [0, 2, 4, 6].map((o) => [at + o, at + o + 1] as [number, number]);
        tcp.send({ flags: "ACK", seq: 1, ack: 1, options: { sack: sack.slice(0, 4) } });
      }
      const bytes = script.takeAll().reduce((n, frame) => n + frame.payload.length, 0);
      expect(bytes).toBeLessThan(20 * SEGMENT);
      tcp.send({ flags: "ACK", seq: 1, ack: 1 + 10 * SEGMENT });
      script.takeAll();
      far.send("next");
      tcp.expect({ seq: 1 + 10 * SEGMENT }, "next");
    },
  );

  test(
    proves(
      "bad.tcp.segmentsmack",
      "CVE-2018-5390: tiny segments behind a hole are kept to a limit, and the stream is right all the same",
    ),
    async () => {
      const { script, tcp, far } = await connect();
      for (let i = 0; i < 1_500; i++) tcp.send({ flags: "ACK", seq: 3 + 2 * i, ack: 1 }, "x");
      script.takeAll();
      for (let at = 1; at < 3_001; at += 1_000) tcp.send({ flags: "ACK", seq: at, ack: 1 }, "x".repeat(1_000));
      expect(far.received.length).toBe(3_000);
      serves(script);
    },
  );

  test(
    proves("bad.tcp.closing-queue", "CVE-2017-13711: segments for a connection whose sockets have just closed"),
    async () => {
      const { script, tcp, far } = await connect();
      far.reset();
      script.sendBatch(
        tcp.frame({ flags: "ACK", seq: 1, ack: 1 }, "late"),
        tcp.frame({ flags: "FIN ACK", seq: 5, ack: 1 }),
        tcp.frame({ flags: "RST", seq: 6 }),
        tcp.frame({ flags: "ACK", seq: 6, ack: 1 }, "later"),
      );
      expect(script.stack.flows()).toEqual([]);
      serves(script);
    },
  );

  test("the assemblers of all connections share a limit: what is kept for one is given back when it ends", async () => {
    const { script, tcp, far } = await connect();
    for (let i = 0; i < 100; i++) tcp.send({ flags: "ACK", seq: 101 + 200 * i, ack: 1 }, "x".repeat(100));
    tcp.send({ flags: "RST", seq: 1 });
    expect(far.closed).toBe("ECONNRESET");
    expect(script.stack.flows()).toEqual([]);
  });
});

test(proves("bad.tcp.port-0", "CVE-2014-3640: to port 0 and from port 0: a RST, and nobody is dialled"), () => {
  const script = new PacketScript();
  for (const ends of [{ dstPort: 0 }, { srcPort: 0 }]) {
    const tcp = script.tcp(ends);
    tcp.send({ flags: "SYN", seq: 0 });
    tcp.expect({ flags: "RST ACK", ack: 1 });
  }
  expect(script.host.dialled).toEqual([]);
  serves(script);
});

test(proves("bad.tcp.options", "options of length 0, 1 and beyond the header end the reading, not the stack"), () => {
  const rows = [
    [2, 0, 0, 0],
    [2, 1, 0, 0],
    [2, 255, 0, 0],
    [3, 0, 8, 0, 8, 255, 0, 0],
    [5, 3, 0, 0],
    [5, 255, 1, 1],
    [254, 0, 254, 0],
    [1, 1, 1, 2],
    [8, 10, 0, 0],
  ];
  const script = new PacketScript();
  rows.forEach((raw, i) => {
    const tcp = script.tcp({ srcPort: 2_000 + i });
    tcp.send({ flags: "SYN", seq: 0, options: { raw } });
    tcp.expect({ flags: "SYN ACK", ack: 1 });
    tcp.send({ flags: "ACK", seq: 1, ack: 1, options: { raw } }, "ok");
    tcp.expect({ flags: "ACK", ack: 3 });
  });
  serves(script);
});

test(proves("bad.tcp.no-gateways", "payloads that other stacks' gateways parse pass as they are, both ways"), () => {
  const payloads = [
    [113, "6191 , 23\r\n"],
    [21, "PORT 10,0,2,15,7,138\r\n"],
    [6667, "PRIVMSG x :\u0001DCC CHAT chat 167772687 1900\u0001\r\n"],
    [514, "1022\0root\0root\0id\0"],
    [21, "EPRT |1|10.0.2.15|1930|\r\n"],
  ] as const;
  const script = new PacketScript();
  payloads.forEach(([dstPort, text], i) => {
    const tcp = script.tcp({ dstPort, srcPort: 3_000 + i });
    tcp.establish();
    tcp.send({ flags: "ACK", seq: 1, ack: 1 }, text);
    tcp.expect({ flags: "ACK" });
    const far = script.host.dialled.at(-1)!;
    expect(far.text).toBe(text);
    far.send(`227 Entering Passive Mode (127,0,0,1,7,138)\r\n${text}`);
    tcp.expect({ seq: 1 }, `227 Entering Passive Mode (127,0,0,1,7,138)\r\n${text}`);
  });
  expect(script.host.dialled.length).toBe(payloads.length);
});

test(
  proves(
    ["bad.tcp.syn-flood"],
    "3000 SYNs that are never completed go away in their time, and others are served meanwhile",
  ),
  () => {
    const script = new PacketScript();
    for (let i = 0; i < 3_000; i++) script.tcp({ srcPort: 2_000 + i }).send({ flags: "SYN", seq: 0 });
    serves(script);
    script.advance(300_000);
    script.takeAll();
    expect(script.stack.flows().length).toBe(1);
    expect(script.host.open).toBe(1);
  },
);

test(
  proves(
    "bad.tcp.syn-flood",
    "20000 SYNs to hosts that never answer: 768 of one guest wait, those too many are counted, and who answers is connected",
  ),
  () => {
    const script = new PacketScript();
    script.host.answer = () => "hang";
    for (let i = 0; i < 20_000; i++) script.tcp({ srcPort: 2_000 + i }).send({ flags: "SYN", seq: 0 });
    expect(script.stack.flows().length).toBe(768);
    expect(script.host.open).toBe(768);
    expect(script.dropped("half-open-full")).toBe(20_000 - 768);
    script.expectNothing();
    script.host.answer = () => "accept";
    serves(script);
  },
);

test("established connections fill the table to its limit: each SYN too many is counted, and one that ends makes room", () => {
  const script = new PacketScript({ limits: { tcpFlows: 4, tcpFlowsPerGuest: 4 } });
  const flows = [1, 2, 3, 4, 5].map((i) => script.tcp({ srcPort: 2_000 + i }));
  for (const tcp of flows.slice(0, 4)) tcp.establish();
  flows[4]!.send({ flags: "SYN", seq: 0 });
  script.expectNothing();
  expect(script.dropped("flow-table-full")).toBe(1);
  flows[0]!.send({ flags: "RST", seq: 1 });
  flows[4]!.establish();
});

test(proves("bad.tcp.host-loopback", "127.0.0.1, 0.0.0.0 and their like are refused, and never dialled"), () => {
  const script = new PacketScript();
  for (const dst of ["127.0.0.1", "127.255.0.9", "0.0.0.0", "224.0.0.1", "255.255.255.255"]) {
    script.tcp({ dst }).send({ flags: "SYN", seq: 0 });
    for (const frame of script.takeAll()) expect(frame.tcp?.flags ?? "ICMP").toMatch(/RST|ICMP/);
  }
  expect(script.host.dialled).toEqual([]);
  expect(script.stack.flows()).toEqual([]);
  serves(script);
});

test("any segments whatever: the stack lives, and what it delivers was sent", () => {
  const segment = fc.record({
    flags: fc.subarray(["SYN", "FIN", "RST", "PSH", "ACK", "URG"]),
    seq: fc.oneof(fc.integer({ min: -10, max: 3_000 }), fc.nat(0xffff_ffff)),
    ack: fc.oneof(fc.integer({ min: -10, max: 3_000 }), fc.nat(0xffff_ffff)),
    window: fc.nat(65_535),
    size: fc.nat(1_460),
    raw: fc.array(fc.nat(255), { maxLength: 36 }).map((bytes) => bytes.slice(0, bytes.length & ~3)),
    pause: fc.nat(3_000),
    host: fc.constantFrom("", "send", "end", "reset", "stall", "unstall"),
  });
  fc.assert(
    fc.property(fc.array(segment, { maxLength: 40 }), (segments) => {
      const { script, tcp, far } = dialled({ options: { ...OPTIONS, windowScale: 2 } });
      for (const { flags, seq, ack, window, size, raw, pause, host } of segments) {
        tcp.send(
          { flags: flags.length === 0 ? "PSH" : flags.join(" "), seq, ack, window, options: { raw } },
          "x".repeat(size),
        );
        if (host === "send") far.send("y".repeat(3_000));
        else if (host !== "") far[host as "end" | "reset" | "stall" | "unstall"]();
        script.advance(pause);
      }
      expect(far.text).toMatch(/^x*$/);
      serves(script);
      script.advance(4 * 3_600_000);
      expect(script.stack.gauges().sendBytes).toBe(0);
    }),
    { numRuns: 25 },
  );
});
