/** Forwards whose guests are not there: their clients and the user are told. */
import { describe, expect, test } from "vitest";
import { GUEST_IP, GUEST_MAC, PacketScript } from "../support/packet-script.ts";

const HERE = { host: "127.0.0.1", port: 2222 };
const FORWARD = "forward tcp 127.0.0.1:2222 -> 10.0.2.15:22";

async function forwarding(rule = "tcp:127.0.0.1:2222-:22"): Promise<PacketScript> {
  const script = new PacketScript({ hostfwd: [rule] });
  await script.stack.open();
  return script;
}

function notices(script: PacketScript): string[] {
  return script.events.flatMap((event) => (event.type === "notice" ? [event.text] : []));
}

/** The guest answers who asks for it. */
function answer(script: PacketScript): void {
  script.send({
    eth: { src: GUEST_MAC },
    arp: { op: "reply", senderMac: GUEST_MAC, senderIp: GUEST_IP, targetIp: "10.0.2.2" },
  });
}

describe("a client of a forward", () => {
  test("is reset at once while no guest is plugged in, and one line a minute says so", async () => {
    const script = await forwarding();
    script.cable.close();
    for (let i = 0; i < 50; i++) expect(script.host.dial(HERE).closed).toBe("ECONNRESET");
    expect(notices(script)).toEqual([`${FORWARD}: a client is refused: no guest is plugged in`]);
    expect(script.dropped("guest-unreachable")).toBe(50);
    expect(script.stack.flows()).toEqual([]);
    script.advance(60_000);
    script.host.dial(HERE);
    expect(notices(script).length).toBe(2);
    script.plug();
    expect(script.host.dial(HERE).closed).toBeUndefined();
  });

  test("waits for a guest whose network is not up, which one line says after three seconds", async () => {
    const script = await forwarding();
    const clients = [script.host.dial(HERE), script.host.dial(HERE)];
    script.advance(2_900);
    expect(notices(script)).toEqual([]);
    script.advance(200);
    const line = `${FORWARD}: a client waits, and nobody answers for 10.0.2.15: is the guest's network up?`;
    expect(notices(script)).toEqual([line]);
    script.advance(121_000);
    for (const { closed } of clients) expect(closed).toBe("ECONNRESET");
    expect(notices(script)).toEqual([line]);
  });

  test("of a UDP forward is told of likewise", async () => {
    const script = await forwarding("udp:127.0.0.1:2222-:22");
    script.host.udpFar({ host: "203.0.113.1", port: 4_000 }).send("x", HERE);
    script.host.run();
    script.advance(3_100);
    expect(notices(script)).toEqual([
      "forward udp 127.0.0.1:2222 -> 10.0.2.15:22: a client waits, and nobody answers for 10.0.2.15: is the guest's network up?",
    ]);
  });

  test("is not told of when its guest answers in time", async () => {
    const script = await forwarding();
    script.host.dial(HERE);
    answer(script);
    script.advance(10_000);
    expect(notices(script)).toEqual([]);
  });

  test("nor when it has answered, and is gone by then", async () => {
    const script = await forwarding();
    script.host.dial(HERE);
    answer(script);
    script.advance(1_000);
    script.cable.close();
    script.advance(10_000);
    expect(notices(script)).toEqual([]);
  });
});
