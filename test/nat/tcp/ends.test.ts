/** Ends of connections: what can no longer be delivered, who reads slowly at the end, and whose turn it is. */
import { describe, expect, test } from "vitest";
import { type Connection, ROLES, SEGMENT } from "../../proto/tcp/roles.ts";
import type { FakeFar } from "../../support/fake-host.ts";
import { ScriptGuest } from "../../support/guests.ts";
import { FAR_IP, PacketScript } from "../../support/packet-script.ts";

describe.each(ROLES)("%s", (_name, connect) => {
  test("RFC 1122 section 4.2.2.13: bytes that nobody can be given any more are answered by a RST, not acknowledged", async () => {
    const { script, tcp, far } = await connect();
    // An end within this process that has left in order, both ways, while the guest goes on.
    far.leave();
    tcp.expect({ flags: "FIN ACK", seq: 1, ack: 1 });
    tcp.send({ flags: "ACK", seq: 1, ack: 2 }, "lost");
    tcp.expect({ flags: "RST ACK", seq: 2 });
    script.expectNothing();
    expect(script.stack.flows()).toEqual([]);
    expect(script.stack.gauges().timers).toBe(0);
  });

  test("a far end that reads slowly after both have ended has all the time it takes, while it takes something", async () => {
    const { script, tcp, far } = await connect({ network: { limits: { receiveBuffer: 1_048_576 } } });
    far.stall();
    const sent = 100 * SEGMENT;
    for (let n = 0; n < 100; n++) tcp.send({ flags: "ACK", seq: 1 + n * SEGMENT, ack: 1 }, new Uint8Array(SEGMENT));
    far.end();
    script.takeAll();
    tcp.send({ flags: "FIN ACK", seq: 1 + sent, ack: 2 });
    tcp.send({ flags: "ACK", seq: 2 + sent, ack: 2 });
    script.takeAll();
    script.advance(2_000);
    expect(script.stack.flows()).toEqual([]);
    for (let round = 0; round < 5 && far.received.length < sent; round++) {
      script.advance(100_000);
      far.trickle(SEGMENT);
      script.takeAll();
    }
    expect(far.closed).toBe(undefined);
    far.unstall();
    script.advance(1_000);
    expect(far.received.length).toBe(sent);
    expect(far.ended).toBe(true);
  });

  test("one that takes nothing any more is reset after two minutes", async () => {
    const { script, tcp, far } = await connect({ network: { limits: { receiveBuffer: 1_048_576 } } });
    far.stall();
    for (let n = 0; n < 100; n++) tcp.send({ flags: "ACK", seq: 1 + n * SEGMENT, ack: 1 }, new Uint8Array(SEGMENT));
    far.end();
    tcp.send({ flags: "FIN ACK", seq: 1 + 100 * SEGMENT, ack: 2 });
    script.advance(130_000);
    expect(far.closed).toBe("ECONNRESET");
    expect(script.stack.gauges().timers).toBe(0);
  });

  describe("a host that takes nothing, and a guest that is silent", () => {
    const SENT = 100 * SEGMENT;
    /** The guest has sent more than the host takes, and all is acknowledged. */
    const backlogged = async (): Promise<Connection> => {
      const made = await connect({ network: { limits: { receiveBuffer: 1_048_576 } } });
      made.far.stall();
      for (let n = 0; n < 100; n++)
        made.tcp.send({ flags: "ACK", seq: 1 + n * SEGMENT, ack: 1 }, new Uint8Array(SEGMENT));
      made.script.takeAll();
      return made;
    };

    test("RFC 1122 section 4.2.3.6: the guest is asked after two minutes, and one that has forgotten ends the connection", async () => {
      const { script, tcp, far } = await backlogged();
      script.advance(119_000);
      script.expectNothing();
      script.advance(2_000);
      tcp.expect({ flags: "ACK", seq: 0, ack: 1 + SENT });
      tcp.send({ flags: "RST", seq: 1 + SENT });
      expect(script.stack.flows()).toEqual([]);
      expect(far.closed).toBe("ECONNRESET");
      expect(script.stack.gauges()).toMatchObject({ timers: 0, receiveBytes: 0 });
    });

    test("a guest that answers keeps it, and is asked every two minutes", async () => {
      const { script, tcp, far } = await backlogged();
      for (let round = 0; round < 100; round++) {
        script.advance(120_000);
        tcp.expect({ flags: "ACK", seq: 0, ack: 1 + SENT });
        script.expectNothing();
        tcp.send({ flags: "ACK", seq: 1 + SENT, ack: 1 });
      }
      far.unstall();
      script.takeAll();
      script.advance(3_600_000);
      script.expectNothing();
      expect(far.received.length).toBe(SENT);
    });

    test("a guest that never answers loses it after nine times", async () => {
      const { script, far } = await backlogged();
      script.advance(120_000 + 8 * 75_000);
      expect(script.takeAll().length).toBe(9);
      expect(far.closed).toBe(undefined);
      script.advance(75_000);
      expect(far.closed).toBe("ECONNRESET");
      expect(script.stack.gauges()).toMatchObject({ timers: 0, receiveBytes: 0 });
    });

    test("a host that takes all of it meanwhile ends the asking", async () => {
      const { script, far } = await backlogged();
      script.advance(300_000);
      expect(script.takeAll().length).toBe(3);
      far.unstall();
      script.takeAll();
      script.advance(3_600_000);
      script.expectNothing();
      expect(far.closed).toBe(undefined);
    });

    test("a cable that is full loses no connection", async () => {
      const { script, tcp, far } = await backlogged();
      script.cable.stall(true);
      script.advance(3_600_000);
      expect(far.closed).toBe(undefined);
      script.cable.stall(false);
      script.takeAll();
      script.advance(75_000);
      tcp.expect({ flags: "ACK", seq: 0, ack: 1 + SENT });
    });

    test("one that had ended in order before it forgot: what it had said is delivered to a host that takes it", async () => {
      const { script, tcp, far } = await backlogged();
      tcp.send({ flags: "FIN ACK", seq: 1 + SENT, ack: 1 });
      script.takeAll();
      script.advance(120_000);
      tcp.expect({ flags: "ACK", seq: 0, ack: 2 + SENT });
      tcp.send({ flags: "RST", seq: 2 + SENT });
      expect(script.stack.flows()).toEqual([]);
      script.advance(100_000);
      expect(far.closed).toBe(undefined);
      far.trickle(SEGMENT);
      script.advance(100_000);
      far.unstall();
      script.advance(1_000);
      expect(far.received.length).toBe(SENT);
      expect(far.ended).toBe(true);
      // It never answers.
      script.advance(120_000);
      expect(script.stack.gauges()).toMatchObject({ timers: 0, receiveBytes: 0 });
      expect(far.closed).not.toBe(undefined);
    });

    test("and to one that takes nothing for two minutes more it is not", async () => {
      const { script, tcp, far } = await backlogged();
      tcp.send({ flags: "FIN ACK", seq: 1 + SENT, ack: 1 });
      script.takeAll();
      script.advance(120_000);
      tcp.expect({ flags: "ACK", seq: 0, ack: 2 + SENT });
      tcp.send({ flags: "RST", seq: 2 + SENT });
      script.advance(121_000);
      expect(far.closed).toBe("ECONNRESET");
      expect(script.stack.gauges()).toMatchObject({ timers: 0, receiveBytes: 0 });
    });
  });
});

test("of connections that could each fill the cable, each has its turn", () => {
  const script = new PacketScript();
  const tcps = [0, 1, 2].map((i) => {
    const tcp = script.tcp({ srcPort: 2_000 + i });
    tcp.establish({ mss: SEGMENT, windowScale: 7 });
    return tcp;
  });
  // A cable that takes twenty frames between two times that it has room.
  let room = 0;
  const { link } = script.cable;
  const reserve = link.reserve.bind(link);
  const commit = link.commit.bind(link);
  Object.assign(link, {
    reserve: (len: number) => (room > 0 ? reserve(len) : -1),
    commit: (len: number) => {
      room--;
      commit(len);
    },
  });
  for (const far of script.host.dialled) far.send(new Uint8Array(500_000));
  script.expectNothing();
  const sent = new Map<number, number>();
  for (let round = 0; round < 30; round++) {
    room = 20;
    script.stack.writable(link);
    for (const { tcp, payload } of script.takeAll())
      sent.set(tcp!.dstPort, (sent.get(tcp!.dstPort) ?? 0) + payload.length);
    room = 0;
    for (const tcp of tcps) tcp.send({ flags: "ACK", seq: 1, ack: 1 + (sent.get(tcp.srcPort) ?? 0), window: 65_535 });
  }
  const shares = tcps.map(({ srcPort }) => sent.get(srcPort) ?? 0);
  expect(Math.min(...shares)).toBeGreaterThan(0.5 * Math.max(...shares));
});

test("what one cable's guest is owed takes no place of another's", () => {
  const script = new PacketScript({ limits: { halfOpen: 8_192, halfOpenPerGuest: 8_192 } });
  const [greedy, modest] = [new ScriptGuest(script, 16), new ScriptGuest(script, 17)];
  const dial = (guest: ScriptGuest, srcPort: number): FakeFar => {
    const tcp = { srcPort, dstPort: 80, flags: "SYN", seq: 0 };
    guest.send({ ip: { dst: FAR_IP }, tcp });
    const synAck = guest.takeAll().find((frame) => frame.tcp?.dstPort === srcPort)!.tcp!;
    guest.send({ ip: { dst: FAR_IP }, tcp: { ...tcp, flags: "ACK", seq: 1, ack: (synAck.seq + 1) >>> 0 } });
    return script.host.dialled.at(-1)!;
  };
  for (const guest of [greedy, modest])
    guest.send({ arp: { senderMac: guest.mac, senderIp: guest.ip, targetIp: "10.0.2.2" } });
  const fars = Array.from({ length: 4_200 }, (_, i) => dial(greedy, 2_000 + i));
  const far = dial(modest, 2_000);
  greedy.cable.stall(true);
  modest.cable.stall(true);
  for (const each of fars) each.reset();
  script.host.run();
  far.reset();
  script.host.run();
  greedy.takeAll();
  modest.takeAll();
  modest.cable.stall(false);
  expect(modest.takeAll().map(({ tcp }) => tcp!.flags)).toEqual(["RST ACK"]);
});

test("connections that only linger are as many as may be; the oldest goes", () => {
  const script = new PacketScript();
  const fars: FakeFar[] = [];
  for (let i = 0; i < 1_100; i++) {
    const tcp = script.tcp({ srcPort: 2_000 + i });
    tcp.establish();
    const far = script.host.dialled.at(-1)!;
    far.stall();
    // What its kernel takes is used up.
    far.trickle(-65_536);
    tcp.send({ flags: "ACK", seq: 1, ack: 1 }, "waits");
    far.end();
    tcp.send({ flags: "FIN ACK", seq: 6, ack: 2 });
    tcp.send({ flags: "ACK", seq: 7, ack: 2 });
    script.takeAll();
    script.advance(5);
    fars.push(far);
  }
  script.advance(1_500);
  expect(fars.filter(({ closed }) => closed === undefined).length).toBe(1_024);
  expect(fars[0]!.closed).toBe("ECONNRESET");
  expect(fars.at(-1)!.closed).toBe(undefined);
});
