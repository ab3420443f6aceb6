/** Addresses as users type them: taken and written as other programs do, or refused. */

import net from "node:net";
import fc from "fast-check";
import { expect, it } from "vitest";
import { parseIp, parseIpv4, parseIpv6 } from "../../src/control/addresses.ts";

const group = fc.constantFrom("0", "00", "0000", "1", "a", "0A", "ffff", "F00d", "01", "12345", "g", "");
const byte = fc.constantFrom("0", "1", "9", "10", "99", "100", "199", "200", "249", "250", "255", "256", "01", "");
const dotted = fc.array(byte, { minLength: 3, maxLength: 5 }).map((parts) => parts.join("."));
const colons = fc
  .tuple(fc.array(group, { minLength: 1, maxLength: 9 }), fc.constantFrom("", "", "::"), dotted, fc.boolean())
  .map(([groups, before, end, mixed]) => `${before}${groups.join(":")}${mixed ? `:${end}` : ""}`);

it("IPv4: four numbers without leading zeros, and nothing else", () => {
  fc.assert(
    fc.property(fc.oneof(dotted, fc.ipV4()), (text) => {
      expect(parseIpv4(text)).toBe(net.isIPv4(text) ? text : null);
    }),
  );
});

it("IPv6: every form that RFC 4291 has, in the one of RFC 5952", () => {
  fc.assert(
    fc.property(fc.oneof(colons, fc.ipV6()), (text) => {
      // Another reader and writer of addresses: the URL standard's.
      expect(parseIpv6(text)).toBe(net.isIPv6(text) ? new URL(`http://[${text}]`).hostname.slice(1, -1) : null);
    }),
  );
});

it.each(["", ":", "::1%lo", "[::1]", "1.2.3", "1.2.3.4.5", "0x7f.0.0.1", "127.1", " ::1", "::1/64", "bad.cafe", "1:2"])(
  "%j is none",
  (text) => expect(parseIp(text)).toBeNull(),
);
