/** Flows of guests that go, come back, or are followed by others: nothing outlives them, and nobody inherits it. */
import { describe, expect, test } from "vitest";
import type { FlowGate } from "../../../src/core/gate.ts";
import type { FakeFar, FakeUdpFar } from "../../support/fake-host.ts";
import { encodeFrame, type FrameSpec } from "../../support/frames.ts";
import { FAR_IP, GATEWAY_MAC, GUEST_IP, GUEST_MAC, PacketScript, type TcpScript } from "../../support/packet-script.ts";

const OTHER_MAC = "52:54:00:00:00:77";
const ABSENT = 30;
const options = { limits: { absentSeconds: ABSENT } };
const SECOND = 1_000;
const HOUR = 3_600_000;

function connected(script: PacketScript): { tcp: TcpScript; far: FakeFar } {
  const tcp = script.tcp();
  tcp.establish();
  return { tcp, far: script.host.dialled.at(-1)! };
}

/** A guest says that it is there: a gratuitous ARP. */
function hello(mac: string = GUEST_MAC): FrameSpec {
  return { eth: { src: mac }, arp: { senderMac: mac, senderIp: GUEST_IP, targetIp: GUEST_IP } };
}

/** To whoever has spoken with `far` last. */
function answer(far: FakeUdpFar, bytes: Uint8Array | string): void {
  far.send(bytes, far.received.at(-1)!.from);
}

const datagram: FrameSpec = { ip: { dst: FAR_IP }, udp: { srcPort: 5_000, dstPort: 7 }, payload: "hello" };
const echo: FrameSpec = { ip: { dst: FAR_IP }, icmp: { id: 1, seq: 1 }, payload: "ping" };

/** Allows all flows. */
const ALLOWING: FlowGate = {
  active: true,
  judge: (_flow, done) => queueMicrotask(() => done({ action: "allow" })),
};

describe("a guest whose cable is gone and who does not come back", () => {
  test.each([
    ["one byte under way", (far: FakeFar) => far.send("x")],
    ["nothing under way", () => {}],
    ["a FIN under way", (far: FakeFar) => far.end()],
  ])("loses a connection with %s after the time there is, and its host is told", (_name, act) => {
    const script = new PacketScript(options);
    const { far } = connected(script);
    script.cable.close();
    act(far);
    script.advance((ABSENT - 1) * SECOND);
    expect(script.stack.gauges().tcpFlows).toBe(1);
    script.advance(2 * SECOND);
    expect(far.closed).toBe("ECONNRESET");
    expect(script.events.at(-1)).toMatchObject({ type: "flow-close", proto: "tcp", reason: "guest-gone" });
    expect(script.stack.gauges()).toMatchObject({ tcpFlows: 0, timers: 0, sendBytes: 0 });
  });

  test("loses mappings, pings and forwards' clients as well, who would go on for as long as the far end speaks", async () => {
    const script = new PacketScript({ ...options, hostfwd: ["udp:127.0.0.1:5353-:53"] });
    await script.stack.open();
    const far = script.host.udpFar({ host: FAR_IP, port: 7 });
    script.send(datagram);
    script.send(echo);
    const client = script.host.udpFar({ host: "203.0.113.1", port: 4_000 });
    client.send("ask", { host: "127.0.0.1", port: 5353 });
    script.takeAll();
    expect(script.stack.flows().length).toBe(3);
    script.cable.close();
    for (let i = 0; i < ABSENT - 1; i++) {
      script.advance(SECOND);
      answer(far, "more");
    }
    script.advance(2 * SECOND);
    expect(script.stack.flows()).toEqual([]);
    expect(script.stack.gauges()).toMatchObject({ udpFlows: 0, icmpFlows: 0, timers: 0 });
    // Whoever asks again is asked for again, and given up again.
    client.send("ask", { host: "127.0.0.1", port: 5353 });
    script.host.run();
    expect(script.stack.flows().length).toBe(1);
    script.advance((ABSENT + 1) * SECOND);
    expect(script.stack.flows()).toEqual([]);
  });

  test("however long it may stay away, a byte that is sent again and again in vain ends the connection", () => {
    const script = new PacketScript({ limits: { absentSeconds: 65_536 } });
    const { far } = connected(script);
    script.cable.close();
    far.send("x");
    script.advance(HOUR);
    expect(far.closed).toBe("ECONNRESET");
    expect(script.events.at(-1)).toMatchObject({ type: "flow-close", reason: "timeout" });
  });

  test("a hundred with much under way leave others all the room there was", () => {
    const script = new PacketScript(options);
    const before = script.stack.gauges();
    const fars = Array.from({ length: 100 }, (_, i) => {
      const tcp = script.tcp({ srcPort: 2_000 + i });
      tcp.establish();
      return script.host.dialled.at(-1)!;
    });
    script.cable.close();
    for (const far of fars) far.send(new Uint8Array(100_000));
    script.host.run();
    expect(script.stack.gauges().sendBytes).toBeGreaterThan(1_000_000);
    script.advance((ABSENT + 1) * SECOND);
    expect(script.stack.gauges()).toEqual(before);
  });

  test("its connection's segments are answered with RST when it comes after all", () => {
    const script = new PacketScript(options);
    const { tcp } = connected(script);
    script.cable.close();
    script.advance((ABSENT + 1) * SECOND);
    script.plug();
    tcp.send({ flags: "ACK", seq: 1, ack: 1 }, "still there?");
    tcp.expect({ flags: "RST", seq: 1 });
  });
});

describe("a guest that comes back on another cable in time", () => {
  test("goes on with its flows, and the time begins anew with the next loss", () => {
    const script = new PacketScript(options);
    const { tcp, far } = connected(script);
    for (let i = 0; i < 3; i++) {
      script.cable.close();
      script.advance((ABSENT - 5) * SECOND);
      script.plug();
      script.send(hello());
    }
    script.takeAll();
    far.send("go on");
    tcp.expect({ seq: 1 }, "go on");
    script.advance(2 * ABSENT * SECOND);
    expect(far.closed).toBe(undefined);
  });

  test("is sent at once what the old cable had no room for", () => {
    const script = new PacketScript(options);
    const { tcp, far } = connected(script);
    script.cable.stall(true);
    far.send("much");
    script.expectNothing();
    script.cable.close();
    script.plug();
    script.send(hello());
    tcp.expect({ seq: 1 }, "much");
  });

  test("is sent at once what was lost with the old cable and tried again in between", () => {
    const script = new PacketScript(options);
    const { tcp, far } = connected(script);
    script.cable.close();
    far.send("much");
    script.advance(10 * SECOND);
    script.plug();
    script.takeAll();
    script.send(hello());
    tcp.expect({ seq: 1 }, "much");
  });

  test("is sent the RST that the old cable had no room for", () => {
    const script = new PacketScript(options);
    const { tcp, far } = connected(script);
    script.cable.stall(true);
    far.reset();
    script.expectNothing();
    const old = script.cable;
    script.plug();
    script.send(hello());
    tcp.expect({ flags: "RST ACK", seq: 1, ack: 1 });
    old.close();
  });
});

describe("another machine that has a guest's address", () => {
  /** The first guest is gone with its cable; another comes with its address. */
  function succeeded(script: PacketScript): void {
    script.cable.close();
    script.plug();
    script.send(hello(OTHER_MAC));
  }

  test("is sent none of the connection's bytes, and the host is told", () => {
    const script = new PacketScript(options);
    const { tcp, far } = connected(script);
    far.send("secret");
    tcp.expect({}, "secret");
    succeeded(script);
    script.advance(10 * SECOND);
    for (const frame of script.takeAll()) expect(frame.tcp).toBe(undefined);
    expect(far.closed).toBe("ECONNRESET");
    expect(script.events.at(-1)).toMatchObject({ type: "flow-close", reason: "replaced" });
  });

  test("does not speak in the connection: its segments are answered with RST", () => {
    const script = new PacketScript(options);
    const { tcp, far } = connected(script);
    succeeded(script);
    script.takeAll();
    script.send({ ...tcp.frame({ flags: "ACK", seq: 1, ack: 1 }, "me"), eth: { src: OTHER_MAC, dst: GATEWAY_MAC } });
    tcp.expect({ flags: "RST", seq: 1 });
    expect(far.text).toBe("");
  });

  test.each([
    ["as it is", null],
    ["when flows are judged", ALLOWING],
  ])("hears nothing that mappings and pings of before were answered, %s", async (_name, gate) => {
    const script = new PacketScript(options, null, false, gate);
    const far = script.host.udpFar({ host: FAR_IP, port: 7 });
    script.send(datagram);
    script.send(echo);
    await Promise.resolve();
    script.host.run();
    script.takeAll();
    succeeded(script);
    script.takeAll();
    expect(script.stack.flows()).toEqual([]);
    expect(script.stack.gauges()).toMatchObject({ udpFlows: 0, icmpFlows: 0, timers: 0 });
    answer(far, "for the first");
    script.expectNothing();
  });

  test("on a cable that the first is still on, too: the first is told by RST", () => {
    const script = new PacketScript(options);
    const { tcp, far } = connected(script);
    script.send(hello(OTHER_MAC));
    const reset = tcp.expect({ flags: "RST ACK", seq: 1, ack: 1 });
    expect(reset.eth.dst).toBe(GUEST_MAC);
    expect(far.closed).toBe("ECONNRESET");
  });
});

test("addresses without flows are forgotten before those with some, and flows end with their address's record", () => {
  const script = new PacketScript({ limits: { neighbours: 4, neighboursPerGuest: 3 } });
  const { far } = connected(script);
  for (let i = 0; i < 8; i++)
    script.send({ arp: { senderMac: GUEST_MAC, senderIp: `10.0.2.${100 + i}`, targetIp: `10.0.2.${100 + i}` } });
  expect(far.closed).toBe(undefined);
  expect(script.stack.gauges().tcpFlows).toBe(1);
});

test("a guest's ICMP error reaches UDP flows that are judged: smaller datagrams follow (RFC 1191)", async () => {
  const script = new PacketScript({}, null, false, ALLOWING);
  const far = script.host.udpFar({ host: FAR_IP, port: 7 });
  script.send(datagram);
  await Promise.resolve();
  script.host.run();
  const quoted = encodeFrame({ ip: { src: FAR_IP, dst: GUEST_IP }, udp: { srcPort: 7, dstPort: 5_000 } });
  script.send({ ip: { dst: FAR_IP }, icmp: { type: 3, code: 4, seq: 1_000 }, payload: quoted.slice(14, 42) });
  expect(script.dropped("icmp-type")).toBe(0);
  answer(far, new Uint8Array(1_400));
  expect(script.takeAll().map((frame) => frame.ip!.length)).toEqual([996, 452]);
});
