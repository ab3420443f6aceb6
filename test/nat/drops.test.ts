import { expect, test } from "vitest";
import { ipv4Address } from "../../src/core/address.ts";
import { Egress } from "../../src/nat/egress.ts";
import { Neighbours } from "../../src/proto/neighbours.ts";

test("a datagram for a guest that nobody has heard of is counted, not lost silently", () => {
  const drops: string[] = [];
  const trace = { drop: (reason: string) => void drops.push(reason), event() {} };
  const egress = new Egress(
    new Uint8Array(6),
    new Uint8Array(6),
    { u32: () => 1 },
    trace,
    () => {},
    () => 1500,
  );
  const guest = new Neighbours(1, 2).expect(ipv4Address(0x0a00020f));
  const gateway = ipv4Address(0x0a000202);
  egress.udp(guest, gateway, 53, 1024, new Uint8Array(4), 0, 4);
  egress.icmp(guest, gateway, 3, 3, 0, new Uint8Array(28), 0, 28);
  expect(drops).toEqual(["guest-unreachable", "guest-unreachable"]);
});
