import { expect, it } from "vitest";
import { PacketScript } from "../support/packet-script.ts";

it.each([
  [true, 5],
  [false, null],
])(
  "a guest's DNS query leaves the host only when nothing is restricted: restrict %s (RFC 1035 section 4.1.1: REFUSED)",
  (restrict, rcode) => {
    const script = new PacketScript({ restrict });
    const question = [4, 0x74, 0x65, 0x73, 0x74, 0, 0, 1, 0, 1];
    const payload = Uint8Array.from([0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...question]);
    script.send({ ip: { dst: "10.0.2.3" }, udp: { srcPort: 4000, dstPort: 53 }, payload });
    expect(script.queries).toHaveLength(restrict ? 0 : 1);
    if (rcode !== null) expect(script.expect({ udp: { srcPort: 53, dstPort: 4000 } }).payload[3]! & 15).toBe(rcode);
  },
);
