import fc from "fast-check";
import { describe, expect, test } from "vitest";
import * as wire from "../../src/wire/dhcp6.ts";
import { ipv6FromText } from "../../src/wire/ipv6.ts";
import { hexFixture } from "../support/hex-fixture.ts";

const UDP = 14 + 40 + 8;

describe("messages of real clients", () => {
  test("dhclient's Solicit: DUID-LLT, an association, what it asks for", () => {
    const bytes = hexFixture("ipv6/dhclient-solicit").subarray(UDP);
    expect(wire.dhcp6Type(bytes, 0, bytes.length)).toBe(wire.DHCP6_SOLICIT);
    expect(wire.dhcp6Xid(bytes, 0)).toBe(0xcf3482);
    const options = wire.dhcp6Options(bytes, 4, bytes.length - 4)!;
    expect(options.map((option) => option.code)).toEqual([1, 6, 8, 3]);
    expect(wire.dhcp6Find(options, wire.OPT6_CLIENT_ID)).toHaveLength(14);
    expect([...wire.dhcp6RequestedCodes(options)]).toEqual([wire.OPT6_DNS, wire.OPT6_DOMAIN_LIST]);
    expect(wire.dhcp6Ia(wire.dhcp6Find(options, wire.OPT6_IA_NA)!)).toEqual({ iaid: 0x00123456, options: [] });
  });

  test("dhclient's Information-request has no association", () => {
    const bytes = hexFixture("ipv6/dhclient-information-request").subarray(UDP);
    expect(wire.dhcp6Type(bytes, 0, bytes.length)).toBe(wire.DHCP6_INFORMATION_REQUEST);
    const options = wire.dhcp6Options(bytes, 4, bytes.length - 4)!;
    expect(options.map((option) => option.code)).toEqual([1, 6, 8]);
  });
});

describe("options", () => {
  const read = (...bytes: number[]): wire.Dhcp6Option[] | null => {
    return wire.dhcp6Options(Uint8Array.from(bytes), 0, bytes.length);
  };

  test("a length beyond the end makes the message malformed, an empty option does not", () => {
    expect(read()).toEqual([]);
    expect(read(0, 14, 0, 0)).toEqual([{ code: 14, data: new Uint8Array(0) }]);
    expect(read(0, 14, 0, 1)).toBeNull();
    expect(read(0, 14, 0)).toBeNull();
    expect(read(0, 1, 0, 1, 7, 0)).toBeNull();
  });

  test("an association's inner options stay within it (RFC 8415 section 21.4)", () => {
    const ia = wire.dhcp6IaOption(wire.OPT6_IA_NA, -2, 10, 20, [
      wire.dhcp6IaAddrOption(ipv6FromText("fec0::15"), 0, 30, 40),
    ]);
    const bytes = Uint8Array.from([...ia.data, 0, 5, 0, 24, ...new Array(24).fill(9)]);
    expect(wire.dhcp6Ia(bytes.subarray(0, ia.data.length))!.options).toHaveLength(1);
    expect(wire.dhcp6Ia(bytes.subarray(0, ia.data.length + 5))).toBeNull();
    expect(wire.dhcp6Ia(ia.data.subarray(0, 11))).toBeNull();
  });

  test("an address is 24 bytes, and its own options stay within it (RFC 8415 section 21.6)", () => {
    const { data } = wire.dhcp6IaAddrOption(ipv6FromText("fec0::15"), 0, 30, 40, [wire.dhcp6StatusOption(0, "ok")]);
    expect([...data]).toEqual([...ipv6FromText("fec0::15"), 0, 0, 0, 30, 0, 0, 0, 40, 0, 13, 0, 4, 0, 0, 0x6f, 0x6b]);
    expect(wire.dhcp6IaAddr(data)).toEqual(ipv6FromText("fec0::15"));
    expect(wire.dhcp6IaAddr(data.subarray(0, 23))).toBeNull();
    expect(wire.dhcp6IaAddr(data.subarray(0, 27))).toBeNull();
  });

  test("an odd byte at the end of an option request is nothing", () => {
    const options = [{ code: wire.OPT6_OPTION_REQUEST, data: Uint8Array.of(0, 23, 0) }];
    expect([...wire.dhcp6RequestedCodes(options)]).toEqual([23]);
  });

  test("a DUID from a MAC (RFC 8415 section 11.4)", () => {
    expect([...wire.duidFromMac(Uint8Array.of(1, 2, 3, 4, 5, 6))]).toEqual([0, 3, 0, 1, 1, 2, 3, 4, 5, 6]);
  });
});

describe("property", () => {
  const option = fc.record({ code: fc.nat(65_535), data: fc.uint8Array({ maxLength: 60 }) });

  test("what is written is read; what finds no room is left out whole, and nothing is written beyond the limit", () => {
    fc.assert(
      fc.property(fc.array(option), fc.nat(255), fc.nat(0xffffff), fc.nat(700), (options, type, xid, room) => {
        const limit = 4 + room;
        const out = new Uint8Array(1000).fill(0xee);
        const len = wire.dhcp6Write(out, limit, type, xid, options);
        expect(len).toBeLessThanOrEqual(limit);
        expect(out.subarray(len).every((byte) => byte === 0xee)).toBe(true);
        expect(wire.dhcp6Type(out, 0, len)).toBe(type);
        expect(wire.dhcp6Xid(out, 0)).toBe(xid);
        const read = wire.dhcp6Options(out, 4, len - 4)!;
        let next = 0;
        for (const one of read) {
          while (next < options.length && options[next]!.code !== one.code) next++;
          expect(next).toBeLessThan(options.length);
        }
        if (4 + wire.dhcp6OptionsLength(options) <= limit) expect(read).toEqual(options);
      }),
    );
  });

  test("whatever the bytes: null, or options that lie within them in order", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(6), { maxLength: 200 }), fc.nat(20), (noise, at) => {
        const bytes = Uint8Array.from(noise);
        const len = Math.max(0, bytes.length - at);
        const options = wire.dhcp6Options(bytes, at, len);
        if (options === null) return;
        expect(wire.dhcp6OptionsLength(options)).toBe(len);
        for (const { data } of options) {
          wire.dhcp6Ia(data);
          wire.dhcp6IaAddr(data);
        }
      }),
    );
  });
});
