/** What is printed of a guest's names as rules, read again. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { parseRules } from "../../../src/control/rules.ts";
import { addressFromText } from "../../../src/core/address.ts";
import { needOf, remedyOf } from "../../../src/nat/rules/remedy.ts";
import type { Subject } from "../../../src/nat/rules/rules.ts";

const words = [
  "any",
  "in",
  "out",
  "tcp",
  "udp",
  "icmp",
  "dns",
  "port",
  "ports",
  "guest",
  "allow",
  "default",
  "*",
  "a.*",
];
const odd = [
  "*.a.test",
  "[::1]",
  "::1",
  "fd00:ec2::254",
  "1.2.3.4",
  "0x7f.1",
  "a b",
  "a:80",
  "a=b",
  "a/8",
  "x,y",
  "a\n",
  "-a",
];
const name = fc.oneof(
  fc.constantFrom(...words, ...odd),
  fc.domain(),
  fc.string({ maxLength: 20 }),
  fc.stringMatching(/^[a-z0-9_*.:-]{1,12}$/),
);

test("what is printed of any name means that name only, or the address", () => {
  const remote = addressFromText("198.51.100.7");
  fc.assert(
    fc.property(name, fc.constantFrom("tcp", "udp", "icmp", "dns"), (shown, proto) => {
      const flow = {
        direction: "out",
        proto,
        guest: addressFromText("10.0.2.15"),
        mac: 1,
        remote,
        names: [shown],
      } as const;
      const subject: Subject = { ...flow, port: proto === "icmp" || proto === "dns" ? 0 : 80 };
      for (const rule of [remedyOf(subject, shown), needOf(subject, shown, null)]) {
        if (rule === null || rule === "allow dns 198.51.100.7") continue;
        const [read] = parseRules([rule, "default deny"]).rules;
        expect([read!.direction, read!.proto]).toEqual(["out", proto]);
        if (read!.domain !== null) expect(read!.domain).toEqual({ name: shown, below: false });
        else expect([read!.net?.address.text, read!.net?.prefix]).toEqual([remote.text, 32]);
      }
    }),
    { numRuns: 2_000 },
  );
});
