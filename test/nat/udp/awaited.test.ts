/** Datagrams for guests that have not spoken yet: they wait while the guest is looked for. */
import { describe, expect, test } from "vitest";
import type { FakeUdpFar } from "../../support/fake-host.ts";
import type { FrameSpec } from "../../support/frames.ts";
import { GUEST_IP, GUEST_MAC, PacketScript } from "../../support/packet-script.ts";

const OTHER_MAC = "52:54:00:00:00:77";
const CLIENT = { host: "203.0.113.1", port: 4_000 };
const SECOND = 1_000;

async function forwarded(guest = ""): Promise<{ script: PacketScript; client: FakeUdpFar; ask(text: string): void }> {
  const script = new PacketScript({ hostfwd: [`udp:127.0.0.1:5353-${guest}:53`] });
  await script.stack.open();
  const client = script.host.udpFar(CLIENT);
  const ask = (text: string): void => client.send(text, { host: "127.0.0.1", port: 5353 });
  return { script, client, ask };
}

/** The guest says that it is there: the answer to our request. */
function here(mac: string = GUEST_MAC): FrameSpec {
  return { eth: { src: mac }, arp: { op: "reply", senderMac: mac, senderIp: GUEST_IP, targetIp: "10.0.2.2" } };
}

const question: FrameSpec = { arp: { targetIp: GUEST_IP } };
const delivered = (payload: string): FrameSpec => ({
  ip: { dst: GUEST_IP },
  udp: { srcPort: 4_000, dstPort: 53 },
  payload,
});

describe("a forward's datagrams to a guest that has not spoken", () => {
  test("arrive in their order as soon as the guest has answered, and each once", async () => {
    const { script, client, ask } = await forwarded();
    ask("one");
    ask("two");
    script.expect(question);
    script.expectNothing();
    script.send(here());
    script.expect(delivered("one"));
    script.expect(delivered("two"));
    ask("three");
    script.expect(delivered("three"));
    script.send({ udp: { srcPort: 53, dstPort: 4_000 }, ip: { dst: CLIENT.host }, payload: "answer" });
    expect(client.received.length).toBe(1);
    expect(script.dropped("guest-unreachable")).toBe(0);
  });

  test("are asked for three times, a second apart, and then dropped and counted", async () => {
    const { script, ask } = await forwarded();
    ask("lost");
    for (let i = 0; i < 3; i++) {
      script.expect(question);
      script.expectNothing();
      script.advance(SECOND);
    }
    script.expectNothing();
    expect(script.dropped("guest-unreachable")).toBe(1);
    script.send(here());
    script.expectNothing();
  });

  test("no more wait than may: the newest eight of a guest", async () => {
    const { script, ask } = await forwarded();
    for (let i = 0; i < 20; i++) ask(`datagram ${i}`);
    script.host.run();
    expect(script.dropped("guest-unreachable")).toBe(12);
    script.expect(question);
    script.send(here());
    for (let i = 12; i < 20; i++) script.expect(delivered(`datagram ${i}`));
    script.expectNothing();
  });

  test("no more wait than may: 256, and a megabyte, of all guests", () => {
    const script = new PacketScript({ subnet: "10.0.0.0/16" });
    const from = { host: "10.0.0.9", port: 7 };
    for (let i = 0; i < 300; i++)
      script.stack.localServices.sendUdp(from, { host: `10.0.1.${i % 250}`, port: 9 }, new Uint8Array(10));
    expect(script.dropped("guest-unreachable")).toBe(300 - 256);
    script.advance(4 * SECOND);
    expect(script.dropped("guest-unreachable")).toBe(300);
    for (let i = 0; i < 20; i++)
      script.stack.localServices.sendUdp(from, { host: `10.0.1.${i}`, port: 9 }, new Uint8Array(64_000));
    expect(script.dropped("guest-unreachable")).toBe(300 + 4);
  });

  test("what was meant for a guest that has gone is not another's that has its address", async () => {
    const { script, ask } = await forwarded();
    script.send(here());
    script.cable.close();
    ask("for the first");
    script.plug();
    script.takeAll();
    script.send(here(OTHER_MAC));
    expect(script.takeAll().filter((frame) => frame.udp !== undefined)).toEqual([]);
    ask("for the second");
    script.expect({ eth: { dst: OTHER_MAC }, ...delivered("for the second") });
  });

  test("wait for an IPv6 guest's neighbour advertisement as well", async () => {
    const { script, ask } = await forwarded("[fec0::77]");
    ask("six");
    const frames = script.takeAll();
    expect(frames.some((frame) => frame.ndp?.kind === "ns")).toBe(true);
    script.send({
      ip6: { src: "fec0::77", dst: "ff02::1" },
      ndp: { kind: "na", target: "fec0::77", options: { targetMac: GUEST_MAC } },
    } as FrameSpec);
    script.expect({ ip6: { dst: "fec0::77" }, payload: "six" } as FrameSpec);
  });
});

test("a forward's SYN waits as well", async () => {
  const script = new PacketScript({ hostfwd: ["tcp:127.0.0.1:2222-:22"] });
  await script.stack.open();
  script.host.dial({ host: "127.0.0.1", port: 2222 });
  script.expect(question);
  script.expectNothing();
  script.send(here());
  script.expect({ ip: { dst: GUEST_IP }, tcp: { dstPort: 22, flags: "SYN" } });
});
