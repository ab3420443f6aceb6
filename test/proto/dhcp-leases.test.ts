import { describe, expect, test } from "vitest";
import { proves } from "../cases/proves.ts";
import { DECLINE, guestMac, ip4, MAC, NAK, RELEASE, REQUEST, Script } from "./dhcp-script.ts";

const A = [0, 1, 1, 1];
const B = [0, 2, 2, 2];

function ip(text: string): number {
  return new DataView(Uint8Array.from(ip4(text)).buffer).getInt32(0);
}

describe("who is a client (RFC 2131 section 4.2)", () => {
  test("a client gets the same address again and again", () => {
    const s = new Script();
    for (let i = 0; i < 3; i++) expect(s.acquire()).toBe("10.0.2.15");
  });

  test("different identifiers behind one MAC are different clients", () => {
    const s = new Script();
    expect(s.acquire({ clientId: A })).toBe("10.0.2.15");
    expect(s.acquire({ clientId: B })).toBe("10.0.2.16");
    expect(s.acquire({ clientId: A })).toBe("10.0.2.15");
    expect(s.acquire({ clientId: B })).toBe("10.0.2.16");
  });

  test("an identifier that repeats the MAC is no other client than the MAC", () => {
    const s = new Script();
    s.acquire();
    expect(s.acquire({ clientId: [1, 0x52, 0x54, 0, 0x12, 0x34, 0x56] })).toBe("10.0.2.15");
    expect(s.bound()).toHaveLength(1);
  });

  test("an identifier follows its client to a new MAC once the old lease is over", () => {
    const s = new Script();
    s.acquire({ clientId: A });
    s.acquire({ mac: guestMac(9) });
    s.send({ type: RELEASE, ciaddr: "10.0.2.15", clientId: A });
    expect(s.acquire({ mac: guestMac(1), clientId: A })).toBe("10.0.2.15");
  });

  test("another guest's identifier does not open its lease", () => {
    const s = new Script();
    s.acquire({ clientId: A });
    expect(s.acquire({ mac: guestMac(1), clientId: A })).toBe("10.0.2.16");
    expect(s.send({ type: REQUEST, mac: guestMac(1), clientId: A, ciaddr: "10.0.2.15" })?.type).toBe(NAK);
    s.send({ type: RELEASE, mac: guestMac(1), clientId: A, ciaddr: "10.0.2.15" });
    s.send({ type: DECLINE, mac: guestMac(1), clientId: A, requestedIp: "10.0.2.15" });
    expect(s.server.leases(s.now)[0]).toMatchObject({ ip: "10.0.2.15", mac: MAC });
  });

  test("after its cable was unplugged, the next system on a card has its address, whatever its identifier", () => {
    const s = new Script();
    s.acquire({ clientId: A });
    s.server.vacate(MAC, s.now);
    expect(s.acquire({ clientId: B })).toBe("10.0.2.15");
  });

  test("an unplugged guest's lease is still not given to another MAC", () => {
    const s = new Script({ dhcpCount: 1 });
    s.acquire({ clientId: A });
    s.server.vacate(MAC, s.now);
    expect(s.acquire({ mac: guestMac(1), clientId: A })).toBeNull();
    expect(s.bound()).toEqual(["10.0.2.15"]);
  });

  test("a card that used up the pool under many identifiers goes on, with its own oldest address", () => {
    const s = new Script();
    for (let i = 0; i < 16; i++) {
      expect(s.acquire({ clientId: [0, 9, i] })).toBe(`10.0.2.${15 + i}`);
      s.now += 1000;
    }
    expect(s.acquire({ clientId: [0, 9, 99] })).toBe("10.0.2.15");
  });
});

describe("starvation", () => {
  test(
    proves("bad.dhcp.starvation", "300 clients: 16 get addresses, the rest silence, and no bound lease moves"),
    () => {
      const s = new Script();
      const got = Array.from({ length: 300 }, (_, i) => s.acquire({ mac: guestMac(i) }));
      expect(got.filter((address) => address !== null)).toHaveLength(16);
      expect(new Set(got.slice(0, 16)).size).toBe(16);
      expect(s.drops).toEqual(new Array(284).fill("dhcp-no-address"));
      s.now += 86_000_000;
      for (let i = 0; i < 16; i++) {
        expect(s.send({ type: REQUEST, mac: guestMac(i), ciaddr: got[i]! })?.yiaddr).toBe(got[i]);
      }
    },
  );

  test("300 DISCOVERs that nobody follows up: others are served once the offers lapse", () => {
    const s = new Script();
    for (let i = 0; i < 300; i++) s.send({ mac: guestMac(i) });
    expect(s.send({})).toBeNull();
    s.now += 30_000;
    expect(s.acquire()).not.toBeNull();
  });
});

describe("which address", () => {
  test("unused ones first, then the one free for longest", () => {
    const s = new Script({ dhcpCount: 3 });
    for (let i = 0; i < 3; i++) s.acquire({ mac: guestMac(i) });
    for (const i of [1, 0, 2]) {
      s.now += 1000;
      s.send({ type: RELEASE, mac: guestMac(i), ciaddr: `10.0.2.${15 + i}` });
    }
    expect([7, 8, 9].map((i) => s.acquire({ mac: guestMac(i) }))).toEqual(["10.0.2.16", "10.0.2.15", "10.0.2.17"]);
  });

  test("the gateway's, the DNS server's and the broadcast address are never handed out", () => {
    const s = new Script({ dhcpStart: "10.0.2.1", dhcpCount: 4 });
    expect([0, 1, 2].map((i) => s.acquire({ mac: guestMac(i) }))).toEqual(["10.0.2.1", "10.0.2.4", null]);
    const end = new Script({ dhcpStart: "10.0.2.253", dhcpCount: 16 });
    expect([0, 1, 2].map((i) => end.acquire({ mac: guestMac(i) }))).toEqual(["10.0.2.253", "10.0.2.254", null]);
  });

  test("a client that took another address no longer has its former one kept", () => {
    const s = new Script({ dhcpCount: 2 });
    s.acquire();
    s.send({ type: RELEASE, ciaddr: "10.0.2.15" });
    expect(s.send({ type: REQUEST, requestedIp: "10.0.2.16" })?.yiaddr).toBe("10.0.2.16");
    expect(s.acquire()).toBe("10.0.2.16");
    expect(s.acquire({ mac: guestMac(1) })).toBe("10.0.2.15");
  });
});

describe("static leases", () => {
  const config = {
    staticLeases: new Map([
      [MAC, "10.0.2.15"],
      [guestMac(5), "10.0.2.99"],
    ]),
    dhcpCount: 2,
  };

  test("go to their MAC alone, whatever identifier it shows or address it asks for", () => {
    const s = new Script(config);
    expect(s.acquire({ mac: guestMac(1), requestedIp: "10.0.2.15" })).toBe("10.0.2.16");
    expect(s.acquire({ mac: guestMac(2) })).toBeNull();
    expect(s.acquire({ clientId: A, requestedIp: "10.0.2.16" })).toBe("10.0.2.15");
    expect(s.acquire({ clientId: B })).toBe("10.0.2.15");
    expect(s.acquire({ mac: guestMac(5) })).toBe("10.0.2.99");
  });

  test("another address of the pool is refused to their MAC", () => {
    expect(new Script(config).send({ type: REQUEST, requestedIp: "10.0.2.16" })?.type).toBe(NAK);
  });

  test("outlive a release and an expiry", () => {
    const s = new Script(config);
    s.acquire();
    s.send({ type: RELEASE, ciaddr: "10.0.2.15" });
    s.now += 90_000_000;
    expect(s.acquire({ mac: guestMac(1) })).toBe("10.0.2.16");
    expect(s.acquire({ mac: guestMac(2) })).toBeNull();
    expect(s.acquire()).toBe("10.0.2.15");
  });

  test("a declined one makes way to the pool for ten minutes", () => {
    const s = new Script(config);
    s.acquire();
    s.send({ type: DECLINE, requestedIp: "10.0.2.15" });
    expect(s.acquire()).toBe("10.0.2.16");
    s.now += 600_000;
    expect(s.send({ type: REQUEST, ciaddr: "10.0.2.16" })?.type).toBe(5);
    expect(s.acquire()).toBe("10.0.2.15");
  });
});

describe("addresses in use without a lease", () => {
  test("are handed to nobody else, but to their user", () => {
    const s = new Script({ dhcpCount: 2 });
    expect(s.server.seen(ip("10.0.2.15"), MAC, s.now)).toBe(true);
    expect(s.acquire({ mac: guestMac(1), requestedIp: "10.0.2.15" })).toBe("10.0.2.16");
    expect(s.acquire({ mac: guestMac(2) })).toBeNull();
    expect(s.send({ type: REQUEST, mac: guestMac(2), requestedIp: "10.0.2.15" })?.type).toBe(NAK);
    expect(s.bound()).toEqual(["10.0.2.16"]);
    expect(s.acquire()).toBe("10.0.2.15");
  });

  test("are free again a day after they were last heard of, or when the cable is unplugged", () => {
    const s = new Script({ dhcpCount: 1 });
    s.server.seen(ip("10.0.2.15"), MAC, s.now);
    s.now += 86_399_999;
    expect(s.acquire({ mac: guestMac(1) })).toBeNull();
    s.server.vacate(MAC, s.now);
    expect(s.acquire({ mac: guestMac(1) })).toBe("10.0.2.15");
    const t = new Script({ dhcpCount: 1 });
    t.server.seen(ip("10.0.2.15"), MAC, t.now);
    t.now += 86_400_000;
    expect(t.acquire({ mac: guestMac(1) })).toBe("10.0.2.15");
  });

  test("another guest's lease or static lease is not to be believed in", () => {
    const s = new Script({ staticLeases: new Map([[guestMac(5), "10.0.2.99"]]) });
    s.acquire();
    expect(s.server.seen(ip("10.0.2.15"), guestMac(1), s.now)).toBe(false);
    expect(s.server.seen(ip("10.0.2.15"), MAC, s.now)).toBe(true);
    expect(s.server.seen(ip("10.0.2.99"), guestMac(1), s.now)).toBe(false);
    expect(s.server.seen(ip("10.0.2.99"), guestMac(5), s.now)).toBe(true);
    expect(s.bound()).toEqual(["10.0.2.15"]);
  });

  test("addresses outside the pool are nobody's", () => {
    const s = new Script();
    expect(s.server.seen(ip("10.0.2.200"), guestMac(1), s.now)).toBe(true);
    expect(s.server.seen(ip("10.0.2.200"), guestMac(2), s.now)).toBe(true);
  });
});
