/** How large a datagram to a guest may be: Ethernet's 1500 for anyone, more only for a guest that has shown that it takes more. */
import { describe, expect, test } from "vitest";
import { FAR_IP, GUEST_IP, GUEST_MAC, PacketScript } from "../../support/packet-script.ts";

const REQUEST = 3;
const MTU = 26;
const SIZE = 9_000;

/** The guest takes its lease, asking for these options. */
function lease(script: PacketScript, ask: readonly number[]): void {
  const message = new Uint8Array(300);
  message.set([1, 1, 6, 0, 1, 2, 3, 4]);
  message.set(
    GUEST_MAC.split(":").map((part) => Number.parseInt(part, 16)),
    28,
  );
  const ip = GUEST_IP.split(".").map(Number);
  message.set([99, 130, 83, 99, 53, 1, REQUEST, 50, 4, ...ip, 55, ask.length, ...ask, 255], 236);
  script.send({
    eth: { dst: "ff:ff:ff:ff:ff:ff" },
    ip: { src: "0.0.0.0", dst: "255.255.255.255" },
    udp: { srcPort: 68, dstPort: 67 },
    payload: message,
  });
  expect(script.takeAll().length).toBe(1);
}

/** The packets in which a datagram of 9000 bytes comes. */
function sizes(script: PacketScript): number[] {
  const far = script.host.udpFar({ host: FAR_IP, port: 7 });
  script.send({ ip: { dst: FAR_IP }, udp: { srcPort: 1000, dstPort: 7 }, payload: "x" });
  far.send(new Uint8Array(SIZE), far.received[0]!.from);
  return script.takeAll().map((frame) => frame.ip!.length);
}

const SMALL = [1500, 1500, 1500, 1500, 1500, 1500, 148];
const WHOLE = [SIZE + 28];

function connectWith(script: PacketScript, mss: number): void {
  script.tcp().establish({ mss });
}

function sendLarge(script: PacketScript, bytes: number): void {
  script.send({ ip: { dst: FAR_IP }, udp: { srcPort: 1001, dstPort: 9 }, payload: new Uint8Array(bytes - 28) });
  script.takeAll();
}

describe("a datagram of 9000 bytes comes", () => {
  test("in fragments of 1500 to a guest that has shown nothing", () => {
    expect(sizes(new PacketScript({ mtu: 65_520 }))).toEqual(SMALL);
  });

  test("in fragments of 1500 to one that asked for the MTU and has not used it", () => {
    const script = new PacketScript({ mtu: 65_520 });
    lease(script, [1, 3, MTU]);
    connectWith(script, 1_460);
    expect(sizes(script)).toEqual(SMALL);
  });

  test("in fragments of 1500 to one that has a large MSS and did not ask", () => {
    const script = new PacketScript({ mtu: 65_520 });
    lease(script, [1, 3]);
    connectWith(script, 65_480);
    sendLarge(script, 20_000);
    expect(sizes(script)).toEqual(SMALL);
  });

  test("whole to one that asked and has a large MSS", () => {
    const script = new PacketScript({ mtu: 65_520 });
    lease(script, [1, 3, MTU]);
    connectWith(script, 65_480);
    expect(sizes(script)).toEqual(WHOLE);
  });

  test("whole to one that asked and has sent packets as large", () => {
    const script = new PacketScript({ mtu: 65_520 });
    lease(script, [1, 3, MTU]);
    sendLarge(script, 20_000);
    expect(sizes(script)).toEqual(WHOLE);
  });

  test("in fragments as large as those packets that it has sent", () => {
    const script = new PacketScript({ mtu: 65_520 });
    lease(script, [1, 3, MTU]);
    sendLarge(script, 4_020);
    expect(sizes(script)).toEqual([4_020, 4_020, 1_028]);
  });

  test("in fragments of the MTU that was offered, whatever the MSS", () => {
    const script = new PacketScript({ mtu: 4_020 });
    lease(script, [1, 3, MTU]);
    connectWith(script, 65_480);
    expect(sizes(script)).toEqual([4_020, 4_020, 1_028]);
  });

  test("in fragments of 1500 after the same card has started a system that does not ask", () => {
    const script = new PacketScript({ mtu: 65_520 });
    lease(script, [1, 3, MTU]);
    connectWith(script, 65_480);
    lease(script, [1, 3]);
    expect(sizes(script)).toEqual(SMALL);
  });

  test("in fragments of 1500 to one whose own datagrams came in fragments, however long they were", () => {
    const script = new PacketScript({ mtu: 65_520 });
    lease(script, [1, 3, MTU]);
    for (const offset of [0, 1480, 2960]) {
      const ip = { dst: FAR_IP, proto: 17, id: 5, df: false, mf: offset < 2960, offset };
      script.send({ ip, payload: offset === 0 ? headed(4_000) : new Uint8Array(offset === 2960 ? 1_048 : 1480) });
    }
    script.takeAll();
    expect(sizes(script)).toEqual(SMALL);
  });
});

/** The first fragment of a datagram of `size` bytes without a checksum. */
function headed(size: number): Uint8Array {
  const bytes = new Uint8Array(1480);
  bytes.set([3, 233, 0, 9, (size + 8) >> 8, (size + 8) & 255]);
  return bytes;
}
