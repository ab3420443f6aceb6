import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fixture, guestMac, message, Script, type Send } from "./dhcp-script.ts";

const CROWDED = {
  hostname: "guest",
  domainname: `${"d".repeat(60)}.${"e".repeat(60)}.test`,
  dnssearch: Array.from({ length: 30 }, (_, i) => `zone-${i}.test`),
  tftpServerName: "boot.lab.test",
  bootfile: "http://10.0.2.2/boot.efi",
  mtu: 65_520,
};

const address = fc.constantFrom(
  "0.0.0.0",
  "10.0.2.2",
  "10.0.2.15",
  "10.0.2.16",
  "10.0.2.30",
  "10.0.2.255",
  "192.0.2.1",
);
const bytes = (maxLength: number): fc.Arbitrary<number[]> => fc.array(fc.integer({ min: 0, max: 255 }), { maxLength });
const sends: fc.Arbitrary<Send> = fc
  .record(
    {
      type: fc.integer({ min: 0, max: 9 }),
      mac: fc.integer({ min: 0, max: 20 }).map(guestMac),
      ciaddr: address,
      requestedIp: address,
      serverId: address,
      maxSize: fc.integer({ min: 0, max: 65_535 }),
      ask: bytes(40),
      clientId: bytes(255),
      hostname: fc.string({ maxLength: 60 }),
      raw: bytes(60),
      pad: fc.integer({ min: 0, max: 600 }),
    },
    { requiredKeys: [] },
  )
  .map((send) => ({ ...send, hostname: (send.hostname ?? "x").replace(/[^\0-\xff]/g, "?") }));

describe("property", () => {
  test("no bytes at all make it throw; a reply is well formed, or the drop is counted", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 700 }), (noise) => {
        const s = new Script(CROWDED);
        // Most noise would end at the first check: also try it behind a good beginning.
        expect(s.sendBytes(noise)).toBeNull();
        const dressed = message({ type: 0, raw: [...noise] });
        dressed.set(noise.subarray(0, 192), 44);
        s.sendBytes(dressed);
        expect(s.drops.length).toBeGreaterThan(0);
      }),
    );
  });

  test("a reply never exceeds the client's maximum, nor 576 for one that names none", () => {
    fc.assert(
      fc.property(sends, (send) => {
        const plain = { ...send, raw: [] };
        const reply = new Script(CROWDED).send(plain);
        if (reply !== null) expect(reply.len + 28).toBeLessThanOrEqual(Math.max(576, send.maxSize ?? 0));
      }),
    );
  });

  test.each([
    "udhcpc-discover",
    "udhcpc-request",
    "dhclient-request",
    "dhclient-release",
    "ipxe-discover",
    "ipxe-request",
  ])("%s cut short anywhere is answered well or dropped", (name) => {
    const whole = fixture(name);
    const s = new Script(CROWDED);
    for (let len = 0; len <= whole.length; len++) {
      const reply = s.sendBytes(whole.subarray(0, len));
      if (len < 240) expect(reply).toBeNull();
    }
    expect(s.drops.filter((reason) => reason === "dhcp-malformed").length).toBeGreaterThanOrEqual(240);
  });

  test("a real message with any of its bytes changed is answered well or dropped", () => {
    const whole = fixture("ipxe-request");
    const change = fc.tuple(fc.nat(whole.length - 1), fc.integer({ min: 0, max: 255 }));
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 8 }), (changes) => {
        const bytes = whole.slice();
        for (const [at, value] of changes) bytes[at] = value;
        new Script(CROWDED).sendBytes(bytes);
      }),
    );
  });

  test("whatever guests send, a bound lease stays with its MAC until it ends or that MAC gives it up", () => {
    const step = fc.tuple(sends, fc.nat(40_000));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const s = new Script({ dhcpCount: 4 });
        for (const [send, pause] of steps) {
          s.now += pause;
          const before = s.server.leases(s.now);
          // Options in `raw` could say anything; this is about what the named ones do.
          const plain = { ...send, raw: [] };
          s.send(plain);
          const after = s.server.leases(s.now);
          for (const lease of before) {
            if (lease.mac === (plain.mac ?? "52:54:00:12:34:56")) continue;
            expect(after).toContainEqual(lease);
          }
          expect(new Set(after.map((lease) => lease.ip)).size).toBe(after.length);
          expect(after.length).toBeLessThanOrEqual(4);
        }
      }),
    );
  });
});
