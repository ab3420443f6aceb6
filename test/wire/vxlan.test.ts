import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { vxlanCheck, vxlanInnerMtu, vxlanTagged, vxlanVni, vxlanWrite } from "../../src/wire/vxlan.ts";

describe("VXLAN's header (RFC 7348 section 5)", () => {
  test("is eight bytes: the flag I alone, the VNI in the fifth to seventh", () => {
    const buf = new Uint8Array(12).fill(0xee);
    expect(vxlanWrite(buf, 2, 0x123456)).toBe(10);
    expect([...buf]).toEqual([0xee, 0xee, 8, 0, 0, 0, 0x12, 0x34, 0x56, 0, 0xee, 0xee]);
  });

  test("what is written is read, whatever the VNI", () => {
    fc.assert(
      fc.property(fc.nat(0xffffff), fc.nat(20), (vni, at) => {
        const buf = new Uint8Array(40);
        vxlanWrite(buf, at, vni);
        expect(vxlanCheck(buf, at, 8)).toBe(true);
        expect(vxlanVni(buf, at)).toBe(vni);
      }),
    );
  });

  test("without the flag I, or cut off, it is none; reserved bits are ignored", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 0, maxLength: 16 }), (buf) => {
        expect(vxlanCheck(buf, 0, buf.length)).toBe(buf.length >= 8 && (buf[0]! & 8) === 8);
      }),
    );
    const reserved = Uint8Array.of(0xff, 1, 2, 3, 0, 0, 42, 0xff);
    expect(vxlanCheck(reserved, 0, 8)).toBe(true);
    expect(vxlanVni(reserved, 0)).toBe(42);
  });

  test("section 6.1: tags of IEEE 802.1Q and 802.1ad are what is not carried", () => {
    expect([0x8100, 0x88a8, 0x0800, 0x86dd].map(vxlanTagged)).toEqual([true, true, false, false]);
  });

  test("takes 50 bytes over IPv4 and 70 over IPv6 of the packet between", () => {
    expect(vxlanInnerMtu(1500, 4)).toBe(1450);
    expect(vxlanInnerMtu(1500, 6)).toBe(1430);
  });
});
