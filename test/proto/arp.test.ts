/** ARP (RFC 826) and address conflict detection (RFC 5227) on the guests' LAN, as packet scripts. */
import { describe, test } from "vitest";
import { proves } from "../cases/proves.ts";
import { GATEWAY_MAC, GUEST_IP, GUEST_MAC, PacketScript } from "../support/packet-script.ts";

const NOBODY = "0.0.0.0";
const OURS = ["10.0.2.2", "10.0.2.3"];

describe("a probe, whose sender is 0.0.0.0 (RFC 5227 section 2.1.1)", () => {
  test.each(OURS)(proves("arp.probe", "for our own %s is answered: it is taken"), (targetIp) => {
    const script = new PacketScript();
    script.send({ arp: { senderIp: NOBODY, targetIp } });
    script.expect({
      eth: { dst: GUEST_MAC },
      arp: { op: "reply", senderMac: GATEWAY_MAC, senderIp: targetIp, targetMac: GUEST_MAC, targetIp: NOBODY },
    });
    script.expectNothing();
  });

  test(
    proves(
      ["arp.own", "clients.dhcpcd"],
      "for the address that the guest is about to take is not: thrice, and silence",
    ),
    () => {
      const script = new PacketScript();
      for (let probe = 0; probe < 3; probe++) {
        script.send({ arp: { senderIp: NOBODY, targetIp: GUEST_IP } });
        script.advance(1_500);
      }
      script.expectNothing();
    },
  );
});

describe("an announcement, whose sender is its target (RFC 5227 section 2.3)", () => {
  test.each(["request", "reply"] as const)(proves("arp.own", "as a %s draws no answer"), (op) => {
    const script = new PacketScript();
    script.send({ arp: { op, senderIp: GUEST_IP, targetIp: GUEST_IP } });
    script.expectNothing();
  });

  test.each(OURS)("of our %s is not believed: who asks next is told our MAC", (ours) => {
    const script = new PacketScript();
    script.send({ arp: { senderIp: ours, targetIp: ours } });
    script.expectNothing();
    script.send({ arp: { targetIp: ours } });
    script.expect({ arp: { op: "reply", senderMac: GATEWAY_MAC, senderIp: ours } });
  });
});

test("an address of the LAN that is nobody's is not answered for", () => {
  const script = new PacketScript();
  script.send({ arp: { targetIp: "10.0.2.77" } });
  script.expectNothing();
});
