/** Clients of UDP forwards: each conversation is answered by the way that it came, whatever others look like. */
import { describe, expect, test } from "vitest";
import type { Endpoint } from "../../../src/core/address.ts";
import type { FakeUdpFar } from "../../support/fake-host.ts";
import type { Frame } from "../../support/frames.ts";
import { GATEWAY_MAC, GUEST_IP, GUEST_MAC, PacketScript } from "../../support/packet-script.ts";

const CLIENT = { host: "203.0.113.1", port: 4_000 };

async function forwarding(...hostfwd: string[]): Promise<PacketScript> {
  const script = new PacketScript({ hostfwd });
  await script.stack.open();
  script.send({ eth: { src: GUEST_MAC }, arp: { op: "request", senderIp: GUEST_IP, targetIp: "10.0.2.2" } });
  script.expect({ arp: { op: "reply" } });
  return script;
}

/** What comes to the guest next; the guest answers it with its own words. */
function answer(script: PacketScript, frame: Frame): void {
  const { srcPort, dstPort } = frame.udp!;
  script.send({
    eth: { src: GUEST_MAC, dst: GATEWAY_MAC },
    ip: { dst: frame.ip!.src },
    udp: { srcPort: dstPort, dstPort: srcPort },
    payload: `re: ${Buffer.from(frame.payload!)}`,
  });
}

/** A client's words to a forward, as the guest is given them. */
function ask(script: PacketScript, far: FakeUdpFar, to: Endpoint, words: string): Frame {
  far.send(words, to);
  return script.expect({ udp: { dstPort: 53 }, payload: words });
}

function words(far: FakeUdpFar): string[] {
  return far.received.map(({ bytes }) => Buffer.from(bytes).toString());
}

describe("a client of a UDP forward at all addresses", () => {
  test("that asks two of them at once is answered from each", async () => {
    const script = await forwarding("udp:0.0.0.0:5300-:53");
    const far = script.host.udpFar(CLIENT);
    const asked = ["192.0.2.1", "192.0.2.2"];
    const frames = asked.map((host) => {
      far.send(`to ${host}`, { host, port: 5300 });
      return script.expect({ ip: { src: CLIENT.host }, udp: { dstPort: 53 }, payload: `to ${host}` });
    });
    expect(frames[0]!.udp!.srcPort).toBe(CLIENT.port);
    expect(frames[1]!.udp!.srcPort).not.toBe(CLIENT.port);
    for (const round of [frames, frames.toReversed()]) for (const frame of round) answer(script, frame);
    expect(far.received.map(({ bytes, from }) => [Buffer.from(bytes).toString(), from.host])).toEqual(
      [0, 1, 1, 0].map((i) => [`re: to ${asked[i]}`, asked[i]]),
    );
    // Each goes on as it began.
    for (const [i, host] of asked.entries()) {
      far.send("again", { host, port: 5300 });
      expect(script.expect({ payload: "again" }).udp!.srcPort).toBe(frames[i]!.udp!.srcPort);
    }
    expect(script.stack.gauges().udpFlows).toBe(2);
    script.advance(181_000);
    expect(script.stack.gauges()).toMatchObject({ udpFlows: 0, timers: 0 });
    // Nothing is remembered of what has ended: whoever comes first has the client's own port.
    far.send("new", { host: asked[1]!, port: 5300 });
    expect(script.expect({ payload: "new" }).udp!.srcPort).toBe(CLIENT.port);
  });

  test("keeps its own words apart by IPv6, too", async () => {
    const script = new PacketScript({ hostfwd: ["udp:[::]:5300-[fec0::15]:53"] });
    await script.stack.open();
    const far = script.host.udpFar({ host: "2001:db8::7", port: 4_000 });
    for (const host of ["2001:db8::1", "2001:db8::2"]) far.send("x", { host, port: 5300 });
    script.host.run();
    expect(script.stack.flows().map(({ remote }) => remote).length).toBe(2);
  });
});

test("two forwards to one guest port are answered each by its own, to the same client", async () => {
  const script = await forwarding("udp:127.0.0.1:5300-:53", "udp:127.0.0.1:5301-:53");
  const far = script.host.udpFar(CLIENT);
  const frames = [5300, 5301].map((port) => ask(script, far, { host: "127.0.0.1", port }, `by ${port}`));
  for (const frame of [...frames, ...frames]) answer(script, frame);
  expect(far.received.map(({ bytes, from }) => [Buffer.from(bytes).toString(), from.port])).toEqual(
    [5300, 5301, 5300, 5301].map((port) => [`re: by ${port}`, port]),
  );
});

test("two clients of this machine with one port, whom the guest knows as the gateway, are both answered", async () => {
  const script = await forwarding("udp:127.0.0.1:5300-:53");
  const clients = ["127.0.0.1", "127.0.0.2"].map((host) => script.host.udpFar({ host, port: 4_000 }));
  const frames = clients.map((far) => ask(script, far, { host: "127.0.0.1", port: 5300 }, far.at.host));
  expect(frames.map((frame) => frame.ip!.src)).toEqual(["10.0.2.2", "10.0.2.2"]);
  for (const frame of [...frames, ...frames]) answer(script, frame);
  for (const far of clients) expect(words(far)).toEqual([`re: ${far.at.host}`, `re: ${far.at.host}`]);
});

test("a forward that closes ends its clients' flows, and one that opens in its place has the port again", async () => {
  const script = await forwarding("udp:127.0.0.1:5300-:53", "udp:127.0.0.1:5301-:53");
  const far = script.host.udpFar(CLIENT);
  const at = { host: "127.0.0.1", port: 5300 };
  ask(script, far, at, "x");
  ask(script, script.host.udpFar({ ...CLIENT, port: 4_001 }), { ...at, port: 5301 }, "y");
  const [forward] = script.stack.forwards.list();
  script.stack.forwards.remove(forward!);
  expect(script.stack.gauges().udpFlows).toBe(1);
  expect(script.events).toContainEqual(expect.objectContaining({ type: "flow-close", reason: "closed" }));
  await script.stack.forwards.add(forward!.rule);
  const frame = ask(script, far, at, "z");
  expect(frame.udp!.srcPort).toBe(CLIENT.port);
  answer(script, frame);
  expect(words(far)).toEqual(["re: z"]);
});
