import { expect, it } from "vitest";
import { PacketScript } from "../support/packet-script.ts";

it.each([
  ["shared", false, 1],
  ["restricted", true, 0],
])(
  "a rule that names a metadata address opens it, but no way out where there is none: %s",
  async (_, restrict, dials) => {
    const script = new PacketScript({ restrict, rules: ["allow 169.254.169.254", "default deny"] });
    script.send({ ip: { dst: "169.254.169.254" }, tcp: { srcPort: 4000, dstPort: 80, flags: "SYN", seq: 1 } });
    await Promise.resolve();
    expect(script.host.dialled).toHaveLength(dials);
    const refused = script.events.filter(({ type }) => type === "flow-refused");
    expect(refused).toHaveLength(1 - dials);
  },
);
