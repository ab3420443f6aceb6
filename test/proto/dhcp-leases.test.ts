import { describe, expect, test } from "vitest";
import { proves } from "../cases/proves.ts";
import { ACK, DECLINE, guestMac, ip4, MAC, NAK, RELEASE, REQUEST, Script } from "./dhcp-script.ts";

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

  test("a machine whose client identifier changes keeps its address: boot loader, installer, system, another client", () => {
    const s = new Script();
    for (const send of [{}, { clientId: A }, { clientId: B }, { clientId: A }, {}])
      expect(s.acquire(send)).toBe("10.0.2.15");
    expect(s.bound()).toEqual(["10.0.2.15"]);
    // Who boots again remembers its address (INIT-REBOOT).
    expect(s.send({ type: REQUEST, clientId: B, requestedIp: "10.0.2.15" })?.yiaddr).toBe("10.0.2.15");
  });

  test("a question by another identifier alone takes nothing from the one that is bound", () => {
    const s = new Script();
    s.acquire({ clientId: A });
    expect(s.send({ clientId: B })?.yiaddr).toBe("10.0.2.15");
    s.now += 40_000;
    expect(s.bound()).toEqual(["10.0.2.15"]);
    expect(s.send({ type: REQUEST, clientId: A, ciaddr: "10.0.2.15" })?.yiaddr).toBe("10.0.2.15");
  });

  test("different identifiers behind one MAC are different clients once both renew", () => {
    const s = new Script();
    s.acquire({ clientId: A });
    expect(s.acquire({ clientId: B })).toBe("10.0.2.15");
    expect(s.send({ type: REQUEST, clientId: A, ciaddr: "10.0.2.15" })?.type).toBe(NAK);
    for (let i = 0; i < 2; i++) {
      expect(s.acquire({ clientId: A })).toBe("10.0.2.16");
      expect(s.acquire({ clientId: B })).toBe("10.0.2.15");
    }
    expect(s.bound()).toEqual(["10.0.2.15", "10.0.2.16"]);
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

  test("a card that shows many identifiers, one after the other, uses up no pool", () => {
    const s = new Script();
    for (let i = 0; i < 40; i++) expect(s.acquire({ clientId: [0, 9, i] })).toBe("10.0.2.15");
    expect(s.bound()).toHaveLength(1);
  });
});

describe("machines that come and go", () => {
  test("seventeen, one after the other, each with a MAC of its own: the seventeenth has the address that was left first", () => {
    const s = new Script();
    const got = [];
    for (let i = 0; i < 40; i++) {
      s.cable = {};
      got.push(s.acquire({ mac: guestMac(i) }));
      s.now += 60_000;
      s.server.unplugged(s.cable, s.now);
    }
    expect(got).not.toContain(null);
    expect(got.slice(14, 19)).toEqual(["10.0.2.29", "10.0.2.30", "10.0.2.15", "10.0.2.16", "10.0.2.17"]);
    // And it is said whose address it was.
    const said = s.events.filter((event) => event.type === "lease" && event.action === "reclaimed");
    expect(said[0]).toMatchObject({ mac: guestMac(0), ip: "10.0.2.15" });
    expect(said).toHaveLength(24);
  });

  test("an unplugged guest has its lease again, as long as others are free", () => {
    const s = new Script();
    s.cable = {};
    expect(s.acquire()).toBe("10.0.2.15");
    s.server.unplugged(s.cable, s.now);
    s.cable = {};
    expect(s.acquire({ mac: guestMac(1) })).toBe("10.0.2.16");
    s.cable = {};
    expect(s.acquire()).toBe("10.0.2.15");
  });

  test("what an unplugged guest had yields to a guest that uses it, or asks for it by name", () => {
    for (const claim of [
      (s: Script) => s.server.seen(ip("10.0.2.15"), guestMac(1), s.now, s.cable),
      (s: Script) => s.send({ type: REQUEST, mac: guestMac(1), requestedIp: "10.0.2.15" })?.yiaddr === "10.0.2.15",
    ]) {
      const s = new Script();
      s.cable = {};
      s.acquire();
      const old = s.cable;
      s.cable = {};
      expect(claim(s)).toBe(false);
      s.server.unplugged(old, s.now);
      expect(claim(s)).toBe(true);
      s.cable = {};
      expect(s.acquire()).toBe("10.0.2.16");
    }
  });

  test("a guest that is plugged in again and goes on using its address is there", () => {
    const s = new Script({ dhcpCount: 1 });
    s.cable = {};
    s.acquire();
    s.server.unplugged(s.cable, s.now);
    expect(s.server.firstLive(s.now)).toBeNull();
    s.cable = {};
    expect(s.server.seen(ip("10.0.2.15"), MAC, s.now, s.cable)).toBe(true);
    expect(s.server.firstLive(s.now)).toBe(ip("10.0.2.15"));
    s.cable = {};
    expect(s.acquire({ mac: guestMac(1) })).toBeNull();
  });

  test("the first lease is that of the first guest that is there", () => {
    const s = new Script();
    const cables = [{}, {}, {}];
    for (const [i, cable] of cables.entries()) {
      s.cable = cable;
      s.acquire({ mac: guestMac(i) });
    }
    s.server.unplugged(cables[0]!, s.now);
    expect(s.server.firstLive(s.now)).toBe(ip("10.0.2.16"));
    s.cable = cables[0]!;
    s.acquire({ mac: guestMac(0) });
    expect(s.server.firstLive(s.now)).toBe(ip("10.0.2.15"));
  });

  test("an unplugged static lease is still not given to another MAC, nor believed to be another's", () => {
    const s = new Script({ dhcpCount: 1, staticLeases: new Map([[MAC, "10.0.2.15"]]) });
    s.cable = {};
    s.acquire();
    s.server.unplugged(s.cable, s.now);
    s.cable = {};
    expect(s.acquire({ mac: guestMac(1) })).toBeNull();
    expect(s.server.seen(ip("10.0.2.15"), guestMac(1), s.now, s.cable)).toBe(false);
  });
});

describe("behind one cable", () => {
  test("a MAC that changes is believed, and has the lease of the one before", () => {
    for (const statics of [[], [[MAC, "10.0.2.15"]]] as const) {
      const s = new Script({ staticLeases: new Map(statics) });
      s.cable = {};
      s.acquire();
      expect(s.server.isAnothers(ip("10.0.2.15"), guestMac(1), s.now, s.cable)).toBe(false);
      expect(s.server.seen(ip("10.0.2.15"), guestMac(1), s.now, s.cable)).toBe(true);
      expect(s.server.seen(ip("10.0.2.15"), guestMac(2), s.now, {})).toBe(false);
      expect(s.server.isAnothers(ip("10.0.2.15"), guestMac(2), s.now, {})).toBe(true);
      expect(s.server.seen(ip("10.0.2.15"), guestMac(3), s.now)).toBe(false);
    }
  });

  test("a machine that takes another's place is given an address, and the other one is gone if it does not answer", () => {
    const s = new Script();
    s.cable = {};
    s.acquire();
    expect(s.acquire({ mac: guestMac(1) })).toBe("10.0.2.16");
    expect(s.asked).toEqual(["10.0.2.15"]);
    expect(s.server.firstLive(s.now)).toBe(ip("10.0.2.15"));
    s.now += 1_001;
    expect(s.server.firstLive(s.now)).toBe(ip("10.0.2.16"));
    s.answer("10.0.2.15");
    expect(s.server.firstLive(s.now)).toBe(ip("10.0.2.15"));
  });

  test("who boots again with another MAC gets its address if nobody answers at it, else a NAK", () => {
    for (const answers of [false, true]) {
      const s = new Script();
      s.cable = {};
      s.acquire();
      const again = () => s.send({ type: REQUEST, mac: guestMac(1), requestedIp: "10.0.2.15" });
      expect(again()).toBeNull();
      expect(s.asked).toEqual(["10.0.2.15"]);
      if (answers) s.answer("10.0.2.15");
      s.now += 2_000;
      expect(again()?.type).toBe(answers ? NAK : ACK);
    }
  });

  test("a hundred machines, one after the other, are served: who is gone does not count", () => {
    const s = new Script();
    s.cable = {};
    for (let i = 0; i < 100; i++) {
      let got: string | null = null;
      // A client asks again and again.
      for (let tries = 0; tries < 10 && got === null; tries++) {
        got = s.acquire({ mac: guestMac(i) });
        s.now += 4_000;
      }
      expect(got, `machine ${i}`).not.toBeNull();
    }
  });

  test("machines that are there keep their addresses, however many more ask", () => {
    const s = new Script();
    s.cable = {};
    for (let i = 0; i < 12; i++) expect(s.acquire({ mac: guestMac(i) })).not.toBeNull();
    const before = s.bound();
    for (let i = 0; i < 50; i++) {
      expect(s.acquire({ mac: guestMac(100 + i) })).toBeNull();
      s.answer(...before);
      s.now += 4_000;
    }
    expect(s.bound()).toEqual(before);
    // Nor are they asked more often than others ask.
    expect(s.asked.length).toBeLessThanOrEqual(50 + 12);
  });
});

describe("one quota a cable", () => {
  const hostile = {};
  function exhausted(s: Script): void {
    s.cable = hostile;
    for (let i = 0; i < 12; i++) s.acquire({ mac: guestMac(200 + i) });
    for (let last = 15; last < 31; last++) s.server.seen(ip(`10.0.2.${last}`), guestMac(250), s.now, hostile);
    for (let i = 0; i < 40; i++) {
      const mac = guestMac(300 + i);
      const got = s.acquire({ mac });
      if (got !== null) s.send({ type: DECLINE, mac, requestedIp: got });
    }
  }

  test("for leases, addresses used without one and declined ones: others still get theirs at once", () => {
    const s = new Script();
    exhausted(s);
    for (let i = 0; i < 4; i++) {
      s.cable = {};
      expect(s.acquire({ mac: guestMac(i) })).not.toBeNull();
    }
  });

  test("and who declines all that it is given takes no address from others", () => {
    const s = new Script();
    s.cable = hostile;
    for (let i = 0; i < 100; i++) {
      const mac = guestMac(300 + i);
      const got = s.acquire({ mac });
      if (got !== null) s.send({ type: DECLINE, mac, requestedIp: got });
    }
    for (let i = 0; i < 12; i++) {
      s.cable = {};
      expect(s.acquire({ mac: guestMac(i) })).not.toBeNull();
    }
  });

  test("two that take all together give one up to a third, the one that holds most first; nobody loses its only one", () => {
    const s = new Script();
    const victim = {};
    s.cable = victim;
    expect(s.acquire({ mac: guestMac(1) })).toBe("10.0.2.15");
    exhausted(s);
    s.cable = {};
    for (let i = 0; i < 12; i++) s.acquire({ mac: guestMac(400 + i) });
    const all = s.bound();
    // However well those answer who are asked.
    s.cable = {};
    expect(s.acquire({ mac: guestMac(2) })).toBeNull();
    expect(s.asked.length).toBeGreaterThanOrEqual(12);
    s.answer(...all);
    s.now += 4_000;
    const got = s.acquire({ mac: guestMac(2) });
    expect(got).not.toBeNull();
    expect(got).not.toBe("10.0.2.15");
    s.now += 4_000;
    for (let i = 0; i < 12; i++) {
      s.cable = {};
      const mac = guestMac(500 + i);
      let mine = s.acquire({ mac });
      for (let tries = 0; tries < 3 && mine === null; tries++) {
        s.answer(...all);
        s.now += 4_000;
        mine = s.acquire({ mac });
      }
      expect(mine, `guest ${i}`).not.toBeNull();
    }
    expect(s.server.leases(s.now).filter(({ mac }) => mac === guestMac(1) || mac === guestMac(2))).toHaveLength(2);
  });

  test("when each guest has one and none is left, whoever runs this is told, once a minute", () => {
    const s = new Script({ dhcpCount: 2 });
    for (let i = 0; i < 4; i++) {
      s.cable = {};
      s.acquire({ mac: guestMac(i) });
    }
    expect(s.bound()).toHaveLength(2);
    expect(s.drops).toEqual(["dhcp-no-address", "dhcp-no-address"]);
    const notices = () => s.events.filter((event) => event.type === "notice");
    expect(notices()).toHaveLength(1);
    s.now += 60_000;
    s.send({ mac: guestMac(9) });
    expect(notices()).toHaveLength(2);
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
