/** The machine sleeps, or the process is stopped, with everything under way: hours have passed when the stack is next asked. */
import { expect, test } from "vitest";
import { DISCOVER, message, REQUEST } from "../../proto/dhcp-script.ts";
import { answer, query } from "../../support/dns.ts";
import type { FrameSpec } from "../../support/frames.ts";
import { FAR_IP, GUEST_IP, GUEST_MAC, PacketScript } from "../../support/packet-script.ts";

const HOURS = 3_600_000;
const DNS_A = 1;

/** The clock jumps; the one timer fires late, once. */
function sleep(script: PacketScript, millis: number): void {
  script.clock.advance(millis);
  script.stack.poll(script.clock.now());
}

function dhcp(type: number): FrameSpec {
  const asked = type === REQUEST ? { requestedIp: GUEST_IP, serverId: "10.0.2.2" } : {};
  return {
    eth: { src: GUEST_MAC, dst: "ff:ff:ff:ff:ff:ff" },
    ip: { src: "0.0.0.0", dst: "255.255.255.255" },
    udp: { srcPort: 68, dstPort: 67 },
    payload: message({ type, mac: GUEST_MAC, ...asked }),
  };
}

const COUNT = 200;

test(`after eight hours ${COUNT} connections, idle or with bytes under way, get one segment each, and go on`, () => {
  const script = new PacketScript();
  const dial = (srcPort: number) => {
    const tcp = script.tcp({ srcPort, dstPort: 80 });
    tcp.establish();
    return { tcp, far: script.host.dialled.at(-1)! };
  };
  const idle = Array.from({ length: COUNT / 2 }, (_, i) => dial(10_000 + i));
  const busy = Array.from({ length: COUNT / 2 }, (_, i) => dial(20_000 + i));
  for (const { far } of busy) far.send("hello");
  script.takeAll();
  sleep(script, 8 * HOURS);
  const awake = script.takeAll();
  expect(awake.length).toBe(COUNT);
  expect(awake.filter(({ payload }) => payload.length === 5).length).toBe(COUNT / 2);
  script.stack.poll(script.clock.now());
  script.expectNothing();
  for (const { tcp } of idle) tcp.send({ flags: "ACK", seq: 1, ack: 1 });
  for (const { tcp } of busy) tcp.send({ flags: "ACK", seq: 1, ack: 6 }, "me too");
  script.takeAll();
  for (const { far } of idle) far.send("still there?");
  expect(script.takeAll().filter(({ payload }) => payload.length === 12).length).toBe(COUNT / 2);
  for (const { far } of busy) expect(far.text).toBe("me too");
  expect(script.stack.gauges().tcpFlows).toBe(COUNT);
});

test("connections of a guest that did not wake up end, and their hosts learn why", () => {
  const script = new PacketScript();
  const tcp = script.tcp({ dstPort: 80 });
  tcp.establish();
  const far = script.host.dialled.at(-1)!;
  far.send("hello");
  sleep(script, 8 * HOURS);
  expect(far.closed).toBe(undefined);
  script.advance(1 * HOURS);
  expect(far.closed).toBe("ECONNRESET");
  expect(script.events.at(-1)).toMatchObject({ type: "flow-close", reason: "timeout" });
  expect(script.stack.gauges()).toMatchObject({ tcpFlows: 0, timers: 0, sendBytes: 0 });
});

test("TIME-WAIT, mappings and queries of before are over; new ones are served, the lease is kept", () => {
  const script = new PacketScript();
  script.send(dhcp(DISCOVER));
  script.expect({ udp: { dstPort: 68 } });
  script.send(dhcp(REQUEST));
  script.expect({ udp: { dstPort: 68 } });
  const tcp = script.tcp({ dstPort: 80 });
  tcp.establish();
  script.host.dialled.at(-1)!.end();
  tcp.expect({ flags: "FIN ACK" });
  tcp.send({ flags: "FIN ACK", seq: 1, ack: 2 });
  script.takeAll();
  const echo = script.host.udpFar({ host: FAR_IP, port: 7 });
  const datagram: FrameSpec = { ip: {}, udp: { srcPort: 5_000, dstPort: 7 }, payload: "hello" };
  script.send(datagram);
  expect(script.stack.gauges()).toMatchObject({ tcpFlows: 1, udpFlows: 1 });
  sleep(script, 8 * HOURS);
  expect(script.stack.gauges()).toMatchObject({ tcpFlows: 0, udpFlows: 0, timers: 0 });
  script.expectNothing();
  expect(script.stack.leases().map(({ ip }) => ip)).toEqual([GUEST_IP]);
  script.send(datagram);
  expect(echo.received.length).toBe(2);
  script.send({ ip: { dst: "10.0.2.3" }, udp: { srcPort: 5_001, dstPort: 53 }, payload: query("a.test", DNS_A, 7) });
  const asked = script.queries.at(-1)!;
  asked.answer(answer(asked.query));
  script.expect({ udp: { srcPort: 53, dstPort: 5_001 } });
  script.tcp({ srcPort: 6_000, dstPort: 80 }).establish();
});

test("a forward's dial to a guest that slept on goes on where it was: one SYN, not one for each that was due", async () => {
  const script = new PacketScript({ hostfwd: ["tcp:127.0.0.1:8080-:80"] });
  await script.stack.open();
  script.send({ arp: { senderIp: GUEST_IP, targetIp: "10.0.2.2" } });
  script.takeAll();
  script.host.dial({ host: "127.0.0.1", port: 8080 });
  script.expect({ tcp: { flags: "SYN", dstPort: 80 } });
  sleep(script, 8 * HOURS);
  script.expect({ tcp: { flags: "SYN", dstPort: 80 } });
  script.expectNothing();
});
