/** Small faults of the wire, each seen by somebody: protocols, tags, pings, name servers' ports, forwards opened anew. */
import { expect, test } from "vitest";
import { GUEST_IP, GUEST_MAC, PacketScript } from "../support/packet-script.ts";

const OTHER = "198.51.100.9";

test("a protocol that nobody speaks is told by ICMP 3/2 with a quote, and counted; not so to a group", () => {
  const script = new PacketScript();
  script.send({ ip: { proto: 132, dst: OTHER }, payload: "sctp and more of it" });
  script.expect({ ip: { src: "10.0.2.2", dst: GUEST_IP }, icmp: { type: 3, code: 2 } });
  expect(script.dropped("ip-protocol")).toBe(1);
  script.send({ ip: { proto: 2, dst: "224.0.0.22" }, payload: "igmp" });
  script.expectNothing();
});

test("a priority tag is read as none; a VLAN's is counted", () => {
  const script = new PacketScript();
  const arp = (tci: number): Uint8Array => {
    const mac = GUEST_MAC.split(":").map((byte) => Number.parseInt(byte, 16));
    return Uint8Array.of(
      ...[255, 255, 255, 255, 255, 255, ...mac, 0x81, 0, tci >> 8, tci & 255, 8, 6],
      ...[0, 1, 8, 0, 6, 4, 0, 1, ...mac, 10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2],
    );
  };
  script.sendRaw(arp(0xe000));
  script.expect({ arp: { op: "reply", senderIp: "10.0.2.2" } });
  script.sendRaw(arp(0x0007));
  script.expectNothing();
  expect(script.dropped("eth-type")).toBe(1);
});

test("one identifier and sequence number to several hosts at once: each answer arrives", () => {
  const script = new PacketScript();
  script.host.answerPing = () => "silence";
  const hosts = Array.from({ length: 8 }, (_, i) => `198.51.100.${i + 1}`);
  for (const dst of hosts) script.send({ ip: { dst }, icmp: { type: 8, code: 0, id: 1, seq: 1 }, payload: "ping" });
  script.takeAll();
  for (const ping of script.host.pings) ping.answer();
  expect(script.takeAll().map(({ ip }) => ip!.src)).toEqual(hosts);
});

test("RFC 4787 REQ-5: a port that speaks with others as well is kept for them, whatever a name server answers", () => {
  const script = new PacketScript();
  const dns = script.host.udpFar({ host: "198.51.100.53", port: 53 });
  const other = script.host.udpFar({ host: OTHER, port: 4_000 });
  const send = (dst: string, dstPort: number): void =>
    script.send({ ip: { dst }, udp: { srcPort: 5_000, dstPort }, payload: "x" });
  send(OTHER, 4_000);
  send("198.51.100.53", 53);
  dns.send("answer", dns.received[0]!.from);
  script.takeAll();
  script.advance(60_000);
  other.send("late", other.received[0]!.from);
  script.expect({ ip: { src: OTHER }, udp: { srcPort: 4_000, dstPort: 5_000 }, payload: "late" });
});

test("a UDP forward that is closed and opened again answers clients that were there before", async () => {
  const script = new PacketScript({ hostfwd: ["udp:127.0.0.1:5353-:53"] });
  await script.stack.open();
  script.send({ arp: { senderIp: GUEST_IP, targetIp: "10.0.2.2" } });
  script.takeAll();
  const client = script.host.udpFar({ host: "198.51.100.7", port: 6_000 });
  for (let round = 1; round <= 2; round++) {
    client.send("ask", { host: "127.0.0.1", port: 5_353 });
    script.expect({ udp: { srcPort: 6_000, dstPort: 53 }, payload: "ask" });
    script.send({ ip: { dst: "198.51.100.7" }, udp: { srcPort: 53, dstPort: 6_000 }, payload: "answer" });
    expect(client.received.length).toBe(round);
    const [forward] = script.stack.forwards.list();
    script.stack.forwards.remove(forward!);
    await script.stack.forwards.add(forward!.rule);
  }
});
