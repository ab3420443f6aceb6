import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DEFAULT_LIMITS } from "../../src/core/limits.ts";
import { DHCP6_MAX_REPLY } from "../../src/proto/dhcp6.ts";
import { proves } from "../cases/proves.ts";
import { bytesOf, ip6, u32 } from "../support/frames/bytes.ts";
import { hexFixture } from "../support/hex-fixture.ts";
import {
  ADVERTISE,
  CONFIRM,
  DECLINE,
  duid,
  guestMac,
  INFORMATION_REQUEST,
  iaAddr,
  MAC,
  message,
  option,
  REBIND,
  RELEASE,
  RENEW,
  REPLY,
  REQUEST,
  Script,
  SERVER_ID,
  type Send,
  SOLICIT,
} from "./dhcp6-script.ts";

const DAY = 86_400_000;
const LEASED = { ip: "fec0::15", preferred: 43_200, valid: 86_400 };
const OWN = [...duid(MAC)];
const UDP_PAYLOAD = 62;
const asOwner = (type: number, addresses: readonly string[] = ["fec0::15"]): Send => {
  return { type, serverId: SERVER_ID, ia: [{ addresses }] };
};

describe("RFC 8415 section 18.3.1: Solicit", () => {
  test(
    proves("ipv6.dhcp6", "is answered with an Advertise: an address, both identifiers, the highest preference"),
    () => {
      const s = new Script();
      const offer = s.send({ type: SOLICIT, xid: 0xabcdef, ia: [{ iaid: 7 }], ask: [23, 24] })!;
      expect(offer).toMatchObject({ type: ADVERTISE, xid: 0xabcdef, status: null });
      expect(offer.options.get(1)).toEqual(OWN);
      expect(offer.options.get(2)).toEqual(SERVER_ID);
      expect(offer.options.get(7)).toEqual([255]);
      expect(offer.options.get(23)).toEqual(ip6("fec0::3"));
      expect(offer.ia).toEqual([{ code: 3, iaid: 7, t1: 21_600, t2: 34_560, addresses: [LEASED], status: null }]);
      expect(s.server.leases(s.now)).toEqual([]);
    },
  );

  test("dhclient's is answered", () => {
    const offer = new Script().sendBytes(hexFixture("ipv6/dhclient-solicit").subarray(UDP_PAYLOAD))!;
    expect(offer).toMatchObject({ type: ADVERTISE, xid: 0xcf3482, ia: [{ iaid: 0x123456, addresses: [LEASED] }] });
  });

  test("with rapid commit is answered with a Reply that says so, the address bound (section 18.3.1)", () => {
    const s = new Script();
    const reply = s.send({ type: SOLICIT, ia: [{}], rapid: true })!;
    expect(reply).toMatchObject({ type: REPLY, ia: [{ addresses: [LEASED] }] });
    expect(reply.options.get(14)).toEqual([]);
    expect(s.server.leases(s.now)).toEqual([{ ip: "fec0::15", mac: MAC, hostname: null, expires: s.now + DAY }]);
  });

  test("the address wished for is given if it is free", () => {
    const s = new Script();
    expect(s.send({ type: SOLICIT, ia: [{ addresses: ["fec0::20"] }] })!.ia[0]!.addresses[0]!.ip).toBe("fec0::20");
    const other = s.send({ type: SOLICIT, mac: guestMac(1), ia: [{ addresses: ["fec0::20"] }] })!;
    expect(other.ia[0]!.addresses[0]!.ip).toBe("fec0::15");
  });

  test.each(["fec0::14", "fec0::2", "fec0::115", "fec1::15", "fec0::1:0:0:15", "::", "ff02::1"])(
    "%s is none that can be wished for",
    (ip) => {
      expect(new Script().send({ type: SOLICIT, ia: [{ addresses: [ip] }] })!.ia[0]!.addresses).toEqual([LEASED]);
    },
  );

  test("two associations of one client have an address each, five of them not more than four", () => {
    const s = new Script();
    const ia = Array.from({ length: 5 }, (_, i) => ({ iaid: i }));
    const ips = s.send({ type: SOLICIT, ia })!.ia.map((one) => one.addresses[0]!.ip);
    expect(ips).toEqual(["fec0::15", "fec0::16", "fec0::17", "fec0::18"]);
    const more = s.send({ type: SOLICIT, ia: [{ iaid: 5 }] })!;
    expect(more.ia).toMatchObject([{ iaid: 5, addresses: [], status: 2 }]);
  });

  test("an association named twice is answered once", () => {
    expect(new Script().send({ type: SOLICIT, ia: [{ iaid: 1 }, { iaid: 1 }] })!.ia).toHaveLength(1);
  });

  test("temporary addresses and prefixes are refused in words: NoAddrsAvail, NoPrefixAvail", () => {
    const reply = new Script().send({ type: SOLICIT, ia: [{}, { code: 4, iaid: 2 }, { code: 25, iaid: 3 }] })!;
    expect(reply.ia).toMatchObject([
      { code: 3, addresses: [LEASED] },
      { code: 4, iaid: 2, status: 2 },
      { code: 25, iaid: 3, status: 6 },
    ]);
  });
});

describe("RFC 8415 section 18.3.2: Request", () => {
  test("binds the address, and says so", () => {
    const s = new Script();
    expect(s.acquire()).toBe("fec0::15");
    expect(s.server.leases(s.now)).toEqual([{ ip: "fec0::15", mac: MAC, hostname: null, expires: s.now + DAY }]);
    expect(s.trace.events).toEqual([{ type: "lease", mac: MAC, ip: "fec0::15", hostname: null, action: "bound" }]);
    expect(s.server.leases(s.now + DAY)).toEqual([]);
  });

  test("retransmitted: the same address, one lease, one event", () => {
    const s = new Script();
    s.acquire();
    expect(s.send(asOwner(REQUEST))!.ia[0]!.addresses).toEqual([LEASED]);
    expect(s.trace.events).toHaveLength(1);
  });

  test("another network's address is NotOnLink", () => {
    expect(new Script().send(asOwner(REQUEST, ["2001:db8::15"]))!.ia).toMatchObject([{ addresses: [], status: 4 }]);
  });

  test("another server's is not for us", () => {
    const s = new Script();
    expect(s.send({ ...asOwner(REQUEST), serverId: [0, 3, 0, 1, 1, 2, 3, 4, 5, 6] })).toBeNull();
    expect(s.server.leases(s.now)).toEqual([]);
  });
});

describe("RFC 8415 sections 18.3.4 and 18.3.5: Renew and Rebind", () => {
  const types = [
    ["Renew", RENEW, SERVER_ID],
    ["Rebind", REBIND, undefined],
  ] as const;
  test.each(types)("%s extends the lease", (_name, type, serverId) => {
    const s = new Script();
    s.acquire();
    s.now += DAY / 2;
    const { serverId: _, ...send } = asOwner(type);
    expect(s.send({ ...send, ...(serverId && { serverId }) })).toMatchObject({
      type: REPLY,
      ia: [{ addresses: [LEASED] }],
    });
    expect(s.server.leases(s.now)[0]!.expires).toBe(s.now + DAY);
  });

  test("of an address that we know nothing of binds it if it is free: we were restarted", () => {
    const s = new Script();
    expect(s.send(asOwner(RENEW, ["fec0::33"]))!.ia).toMatchObject([
      { addresses: [{ ip: "fec0::33", valid: 86_400 }] },
    ]);
  });

  test("of another's address, or one of another network, ends its use: lifetimes of 0", () => {
    const s = new Script();
    s.acquire();
    for (const ip of ["fec0::15", "2001:db8::15"]) {
      const reply = s.send({ ...asOwner(RENEW, [ip]), mac: guestMac(1) })!;
      expect(reply.ia).toMatchObject([{ addresses: [{ ip, preferred: 0, valid: 0 }], status: null }]);
    }
    expect(s.server.leases(s.now)).toMatchObject([{ mac: MAC }]);
  });

  test("of its own and a foreign address keeps the one and ends the other", () => {
    const s = new Script();
    s.acquire();
    const { addresses } = s.send(asOwner(RENEW, ["fec0::99", "fec0::15"]))!.ia[0]!;
    expect(addresses).toEqual([LEASED, { ip: "fec0::99", preferred: 0, valid: 0 }]);
  });

  test("without an address: its own, or NoBinding", () => {
    const s = new Script();
    expect(s.send(asOwner(RENEW, []))!.ia).toMatchObject([{ addresses: [], status: 3 }]);
    s.acquire();
    expect(s.send(asOwner(RENEW, []))!.ia).toMatchObject([{ addresses: [LEASED] }]);
  });
});

describe("RFC 8415 section 18.3.3: Confirm", () => {
  const confirm = (...addresses: string[]): Send => ({ type: CONFIRM, ia: [{ addresses }] });
  test("addresses of this link: Success; others: NotOnLink; none: no reply", () => {
    const s = new Script();
    expect(s.send(confirm("fec0::15"))).toMatchObject({ type: REPLY, status: 0, ia: [] });
    expect(s.send(confirm("fec0::15", "2001:db8::15"))).toMatchObject({ type: REPLY, status: 4, ia: [] });
    expect(s.send(confirm())).toBeNull();
    expect(s.send({ type: CONFIRM })).toBeNull();
  });
});

describe("RFC 8415 section 18.3.7: Release", () => {
  test("frees the address, which the client still gets again while others are free", () => {
    const s = new Script();
    s.acquire();
    expect(s.send(asOwner(RELEASE))).toMatchObject({ type: REPLY, status: 0, ia: [] });
    expect(s.server.leases(s.now)).toEqual([]);
    expect(s.trace.events.at(-1)).toMatchObject({ action: "released", ip: "fec0::15" });
    expect(s.acquire({ mac: guestMac(1) })).toBe("fec0::16");
    expect(s.acquire()).toBe("fec0::15");
  });

  test("of what is not bound to it: NoBinding, and the holder keeps it, whatever DUID the guest claims", () => {
    const s = new Script();
    s.acquire();
    const reply = s.send({ ...asOwner(RELEASE), mac: guestMac(1), duid: OWN })!;
    expect(reply).toMatchObject({ status: 0, ia: [{ iaid: 1, status: 3 }] });
    expect(s.server.leases(s.now)).toMatchObject([{ mac: MAC }]);
    expect(s.trace.drops).toEqual(["dhcp6-not-holder"]);
  });

  test("of an address that ends like its own and is of another network: NoBinding", () => {
    const s = new Script();
    s.acquire();
    expect(s.send(asOwner(RELEASE, ["fec0::1:0:0:15"]))).toMatchObject({ ia: [{ status: 3 }] });
    expect(s.server.leases(s.now)).toHaveLength(1);
  });
});

describe("RFC 8415 section 18.3.8: Decline", () => {
  test("sets the address aside for ten minutes, and the client gets another", () => {
    const s = new Script();
    s.acquire();
    expect(s.send(asOwner(DECLINE))).toMatchObject({ type: REPLY, status: 0, ia: [] });
    expect(s.trace.events.at(-1)).toMatchObject({ action: "declined" });
    expect(s.acquire()).toBe("fec0::16");
    expect(
      s.send({ type: SOLICIT, mac: guestMac(1), ia: [{ addresses: ["fec0::15"] }] })!.ia[0]!.addresses[0]!.ip,
    ).toBe("fec0::17");
    s.now += 600_000;
    expect(s.send({ type: SOLICIT, mac: guestMac(2), ia: [{ addresses: ["fec0::15"] }] })!.ia[0]!.addresses).toEqual([
      LEASED,
    ]);
  });
});

describe("RFC 8415 section 18.3.6: Information-request", () => {
  test(proves("ipv6.dhcp6", "is answered with what it asks for and no address, with or without an identifier"), () => {
    const s = new Script({ dnssearch: ["lab.test", "test"], bootfile: "http://fec0::2/boot.efi" });
    const reply = s.send({ type: INFORMATION_REQUEST, ask: [23, 24, 32, 59] })!;
    expect(reply).toMatchObject({ type: REPLY, ia: [] });
    expect([...reply.options.keys()].sort((a, b) => a - b)).toEqual([1, 2, 23, 24, 32, 59]);
    expect(reply.options.get(24)).toEqual([3, ...bytesOf("lab"), 4, ...bytesOf("test"), 0, 4, ...bytesOf("test"), 0]);
    expect(reply.options.get(32)).toEqual(u32(86_400));
    expect(reply.options.get(59)).toEqual([...bytesOf("http://fec0::2/boot.efi")]);
    const anonymous = s.send({ type: INFORMATION_REQUEST, duid: null })!;
    expect([...anonymous.options.keys()]).toEqual([2]);
  });

  test("dhclient's is answered", () => {
    const reply = new Script().sendBytes(hexFixture("ipv6/dhclient-information-request").subarray(UDP_PAYLOAD))!;
    expect(reply).toMatchObject({ type: REPLY, xid: 0x7b23c6 });
    expect(reply.options.get(23)).toEqual(ip6("fec0::3"));
  });

  test("a restricted network names no DNS server", () => {
    const reply = new Script({ restrict: true }).send({ type: INFORMATION_REQUEST, ask: [23] })!;
    expect(reply.options.has(23)).toBe(false);
  });

  test.each([
    ["http://[fec0::2]/boot.efi", "http://[fec0::2]/boot.efi"],
    ["boot.efi", "tftp://[fec0::2]/boot.efi"],
    ["/efi/boot.efi", "tftp://[fec0::2]/efi/boot.efi"],
    ["two words", null],
    ["x".repeat(300), null],
  ])("RFC 5970 section 3.1: the boot file %s is %s", (bootfile, url) => {
    const reply = new Script({ bootfile }).send({ type: INFORMATION_REQUEST, ask: [59] })!;
    expect(reply.options.get(59)).toEqual(url === null ? undefined : [...bytesOf(url)]);
  });

  test("UEFI 2.10 section 24.7: the class HTTPClient comes back under its enterprise number", () => {
    const text = bytesOf("HTTPClient:Arch:00016:UNDI:003001");
    const raw = option(16, [...u32(343), 0, text.length, ...text]);
    const reply = new Script({ bootfile: "http://fec0::2/b" }).send({ type: SOLICIT, ia: [{}], ask: [59], raw })!;
    expect(reply.options.get(16)).toEqual([...u32(343), 0, 10, ...bytesOf("HTTPClient")]);
    const pxe = option(16, [...u32(343), 0, 10, ...bytesOf("PXEClient:")]);
    expect(new Script().send({ type: SOLICIT, ia: [{}], raw: pxe })!.options.has(16)).toBe(false);
  });
});

describe("RFC 8415 section 16: discarded and counted", () => {
  const server = { serverId: SERVER_ID };
  test.each<[string, Send]>([
    ["Solicit without a client identifier", { type: SOLICIT, duid: null, ia: [{}] }],
    ["Solicit with a server identifier", { type: SOLICIT, ...server, ia: [{}] }],
    ["Solicit sent to us alone", { type: SOLICIT, ia: [{}], multicast: false }],
    ["Request without a server identifier", { type: REQUEST, ia: [{}] }],
    ["Request without a client identifier", { type: REQUEST, ...server, duid: null, ia: [{}] }],
    ["Renew without a server identifier", { type: RENEW, ia: [{}] }],
    ["Rebind with a server identifier", { type: REBIND, ...server, ia: [{}] }],
    ["Confirm with a server identifier", { type: CONFIRM, ...server, ia: [{ addresses: ["fec0::15"] }] }],
    ["Release without a server identifier", { type: RELEASE, ia: [{}] }],
    ["Decline without a server identifier", { type: DECLINE, ia: [{}] }],
    ["Information-request with an association", { type: INFORMATION_REQUEST, ia: [{}] }],
    ["Information-request sent to us alone", { type: INFORMATION_REQUEST, multicast: false }],
    ["an Advertise", { type: ADVERTISE, ...server }],
    ["a Reply", { type: REPLY, ...server }],
    ["a Reconfigure", { type: 10, ...server }],
    ["an unknown type", { type: 99 }],
    ["a DUID of two bytes (section 11.1)", { type: SOLICIT, duid: [0, 1], ia: [{}] }],
    ["a DUID of 131 bytes", { type: SOLICIT, duid: new Array(131).fill(1), ia: [{}] }],
    ["an option beyond the message", { type: SOLICIT, ia: [{}], raw: [0, 23, 0, 9, 1] }],
    ["half an option", { type: SOLICIT, ia: [{}], raw: [0, 23] }],
  ])("%s", (_name, send) => {
    const s = new Script();
    expect(s.send(send)).toBeNull();
    expect(s.trace.drops).toEqual(["dhcp6-malformed"]);
    expect(s.server.leases(s.now)).toEqual([]);
  });

  test("what a relay passes on: none belongs here", () => {
    const s = new Script();
    expect(
      s.sendBytes(Uint8Array.from([12, 0, ...new Array(32).fill(0), ...option(9, [...message({ type: SOLICIT })])])),
    ).toBeNull();
    expect(s.trace.drops).toEqual(["dhcp6-relayed"]);
  });

  test.each([0, 1, 2, 3])("%i bytes", (length) => {
    const s = new Script();
    expect(s.sendBytes(message({ type: SOLICIT }).subarray(0, length))).toBeNull();
    expect(s.trace.drops).toEqual(["dhcp6-malformed"]);
  });

  test("an association whose inner options overrun is no association; the others count", () => {
    const s = new Script();
    const raw = [...option(3, [...u32(9), ...new Array(8).fill(0), 0, 5, 0, 99]), ...option(3, [1, 2])];
    expect(s.send({ type: SOLICIT, ia: [{ iaid: 4 }], raw })!.ia.map((ia) => ia.iaid)).toEqual([4]);
  });

  test("section 18.4: a Request sent to us alone is told UseMulticast, and nothing is bound", () => {
    const s = new Script();
    expect(s.send({ ...asOwner(REQUEST), multicast: false })).toMatchObject({ type: REPLY, status: 5, ia: [] });
    expect(s.server.leases(s.now)).toEqual([]);
  });
});

describe("leases", () => {
  test("an offer is held for 30 seconds", () => {
    const s = new Script({ prefix6: 123, net6: "fec0::" });
    for (let i = 0; i < 11; i++)
      expect(s.send({ type: SOLICIT, mac: guestMac(i), ia: [{}] })!.ia[0]!.status).toBeNull();
    expect(s.send({ type: SOLICIT, mac: guestMac(99), ia: [{}] })!.ia[0]!.status).toBe(2);
    s.now += 30_000;
    expect(s.acquire({ mac: guestMac(99) })).toBe("fec0::15");
  });

  test("a cable of many MACs is given no more than one may, which is counted; another's clients are", () => {
    const s = new Script({ limits: { ...DEFAULT_LIMITS, leases6: 6, leases6PerGuest: 2 } });
    const asks = (i: number): number | null => s.send({ type: SOLICIT, mac: guestMac(i), ia: [{}] })!.ia[0]!.status;
    s.cable = {};
    expect([1, 2, 3].map(asks)).toEqual([null, null, 2]);
    expect(asks(1)).toBeNull();
    s.cable = {};
    expect(asks(4)).toBeNull();
    expect(s.trace.drops).toEqual(["dhcp6-no-address"]);
  });

  test("no more are given than may be, one more is counted, and has one when another's is over", () => {
    const s = new Script({ limits: { ...DEFAULT_LIMITS, leases6: 3 } });
    const asks = (i: number): number | null => s.send({ type: SOLICIT, mac: guestMac(i), ia: [{}] })!.ia[0]!.status;
    expect([1, 2, 3, 4].map(asks)).toEqual([null, null, null, 2]);
    expect(s.trace.drops).toEqual(["dhcp6-no-address"]);
    s.now += 30_000;
    expect(asks(4)).toBeNull();
    expect(s.trace.drops).toHaveLength(1);
  });

  test(proves("bad.dhcp.starvation", "DHCPv6: all addresses asked for, a bound lease is never given away"), () => {
    const s = new Script();
    s.acquire();
    for (let i = 0; i < 400; i++) s.acquire({ mac: guestMac(i) });
    expect(s.server.leases(s.now)).toHaveLength(256);
    expect(s.acquire({ mac: guestMac(999) })).toBeNull();
    expect(s.trace.drops.filter((reason) => reason === "dhcp6-no-address").length).toBeGreaterThan(100);
    expect(s.send(asOwner(RENEW))!.ia[0]!.addresses).toEqual([LEASED]);
    expect(s.server.leases(s.now).find((lease) => lease.ip === "fec0::15")!.mac).toBe(MAC);
  });

  test("270 machines, one after the other, each with a MAC of its own: all are served, and the one gone first yields first", () => {
    const s = new Script();
    const got = [];
    for (let i = 0; i < 270; i++) {
      s.cable = {};
      got.push(s.acquire({ mac: guestMac(i) }));
      s.now += 1_000;
      s.server.unplugged(s.cable, s.now);
    }
    expect(got).not.toContain(null);
    expect(got.slice(255, 258)).toEqual(["fec0::114", "fec0::15", "fec0::16"]);
    const said = s.trace.events.filter((event) => event.type === "lease" && event.action === "reclaimed");
    expect(said[0]).toMatchObject({ mac: guestMac(0), ip: "fec0::15" });
    expect(said).toHaveLength(14);
  });

  test("machines that take each other's place behind one cable are served: who does not answer is gone", () => {
    const s = new Script({ limits: { ...DEFAULT_LIMITS, leases6: 8, leases6PerGuest: 6 } });
    s.cable = {};
    for (let i = 0; i < 30; i++) {
      let got: string | null = null;
      for (let tries = 0; tries < 10 && got === null; tries++) {
        got = s.acquire({ mac: guestMac(i) });
        s.now += 4_000;
      }
      expect(got, `machine ${i}`).not.toBeNull();
    }
  });

  test("leases, addresses used without one and declined ones of a cable count together", () => {
    const s = new Script({ limits: { ...DEFAULT_LIMITS, leases6: 16, leases6PerGuest: 12 } });
    const hostile = (s.cable = {});
    for (let i = 0; i < 12; i++) s.acquire({ mac: guestMac(200 + i) });
    for (let i = 0x15; i < 0x25; i++) {
      const address = Uint8Array.from([0xfe, 0xc0, ...new Array(13).fill(0), i]);
      s.server.seen(address, 0, guestMac(250), s.now, hostile);
    }
    for (let i = 0; i < 4; i++) {
      s.cable = {};
      expect(s.acquire({ mac: guestMac(i) })).not.toBeNull();
    }
    // One more has none left, until whoever holds most has been asked.
    s.cable = {};
    expect(s.acquire({ mac: guestMac(9) })).toBeNull();
    expect(s.asked).toHaveLength(12);
    s.now += 4_000;
    expect(s.acquire({ mac: guestMac(9) })).not.toBeNull();
  });

  test("a MAC that changes behind its own cable is believed", () => {
    const s = new Script();
    s.cable = {};
    s.acquire();
    const address = Uint8Array.from([0xfe, 0xc0, ...new Array(13).fill(0), 0x15]);
    expect(s.server.isAnothers(address, 0, guestMac(1), s.now, {})).toBe(true);
    expect(s.server.isAnothers(address, 0, guestMac(1), s.now, s.cable)).toBe(false);
    expect(s.server.seen(address, 0, guestMac(1), s.now, {})).toBe(false);
    expect(s.server.seen(address, 0, guestMac(1), s.now, s.cable)).toBe(true);
    expect(s.server.leases(s.now)).toMatchObject([{ ip: "fec0::15", mac: guestMac(1) }]);
  });

  test("one MAC cannot take them all, however many DUIDs and IAIDs it has", () => {
    const s = new Script();
    for (let i = 0; i < 300; i++) s.acquire({ duid: duid(`id-${i}`), ia: [{ iaid: i }] });
    for (let i = 0; i < 300; i++) s.acquire({ duid: duid("one"), ia: [{ iaid: i }] });
    expect(s.server.leases(s.now)).toHaveLength(4);
  });

  test("a machine started anew under another DUID keeps its address: a boot loader, then the system", () => {
    const s = new Script();
    expect(s.acquire({ duid: duid("firmware"), ia: [{ iaid: 1 }] })).toBe("fec0::15");
    expect(s.acquire({ duid: duid("system"), ia: [{ iaid: 2 }] })).toBe("fec0::15");
    expect(s.server.leases(s.now)).toHaveLength(1);
  });

  test("another MAC with the same DUID is another client", () => {
    const s = new Script();
    s.acquire({ duid: duid("cloned") });
    expect(s.acquire({ duid: duid("cloned"), mac: guestMac(1) })).toBe("fec0::16");
    expect(s.server.leases(s.now)).toHaveLength(2);
  });

  test("an address that a guest uses without a lease is not given to another, until its cable is gone", () => {
    const s = new Script();
    expect(s.server.seen(Uint8Array.from(ip6("fec0::15")), 0, guestMac(1), s.now)).toBe(true);
    expect(s.acquire()).toBe("fec0::16");
    s.server.vacate(guestMac(1), s.now);
    expect(s.acquire({ mac: guestMac(2), ia: [{ addresses: ["fec0::15"] }] })).toBe("fec0::15");
  });

  test("an address leased to another is not to be believed, one made by SLAAC is", () => {
    const s = new Script();
    s.acquire();
    expect(s.server.seen(Uint8Array.from(ip6("fec0::15")), 0, guestMac(1), s.now)).toBe(false);
    expect(s.server.seen(Uint8Array.from(ip6("fec0::15")), 0, MAC, s.now)).toBe(true);
    expect(s.server.seen(Uint8Array.from(ip6("fec0::5054:ff:fe12:3456")), 0, guestMac(1), s.now)).toBe(true);
    expect(s.server.leases(s.now)).toMatchObject([{ ip: "fec0::15", mac: MAC }]);
  });

  test("the gateway's and the DNS server's addresses are never given, wherever they are", () => {
    const s = new Script({ host6: "fec0::15", dns6: "fec0::17" });
    expect(s.acquire({ ia: [{ addresses: ["fec0::17"] }] })).toBe("fec0::16");
    expect(s.acquire({ mac: guestMac(1) })).toBe("fec0::18");
  });

  test.each([
    ["fd00:1:2::", 80, "fd00:1:2::15"],
    ["fd00::ffff:0", 112, "fd00::ffff:15"],
  ])("in %s/%i the first is %s", (net6, prefix6, first) => {
    expect(new Script({ net6, prefix6 }).acquire()).toBe(first);
  });

  test("a network too small for the pool has no addresses, and says so", () => {
    expect(new Script({ net6: "fd00::", prefix6: 124 }).send({ type: SOLICIT, ia: [{}] })!.ia[0]!.status).toBe(2);
  });
});

describe("property", () => {
  const address = fc.constantFrom("fec0::15", "fec0::16", "fec0::2", "fec0::9999", "2001:db8::1", "::");
  const ia = fc.record({
    iaid: fc.nat(3),
    addresses: fc.array(address, { maxLength: 6 }),
    code: fc.constantFrom(3, 3, 3, 4, 25),
  });
  const sends = fc.record(
    {
      type: fc.integer({ min: 1, max: 13 }),
      mac: fc.nat(300).map(guestMac),
      duid: fc.oneof(fc.constantFrom(duid("a"), duid("b")), fc.array(fc.nat(255), { maxLength: 140 })),
      serverId: fc.constantFrom(SERVER_ID, [1, 2, 3]),
      ia: fc.array(ia, { maxLength: 8 }),
      ask: fc.array(fc.constantFrom(23, 24, 32, 59, 16, 999), { maxLength: 30 }),
      rapid: fc.boolean(),
      raw: fc.array(fc.nat(255), { maxLength: 12 }),
      multicast: fc.boolean(),
    },
    { requiredKeys: ["type"] },
  );
  const crowded = {
    dnssearch: Array.from({ length: 60 }, (_, i) => `zone-${i}.lab.test`),
    bootfile: `http://[fec0::2]/${"x".repeat(200)}`,
  };

  test("no bytes make it throw; what is dropped is counted", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.constantFrom(1, 3, 4, 5, 6, 8, 9, 11), (noise, type) => {
        const s = new Script(crowded);
        s.sendBytes(noise);
        s.sendBytes(Uint8Array.from([...message({ type, ...(type > 1 && { serverId: SERVER_ID }) }), ...noise]));
        s.sendBytes(
          Uint8Array.from([...message({ type }), ...option(3, [...u32(1), ...noise]), ...iaAddr("fec0::15")]),
        );
      }),
    );
  });

  test("whatever clients do: replies fit, nobody has an address twice, nobody loses a bound one to another", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(sends, fc.constantFrom(0, 1_000, 40_000_000)), { maxLength: 30 }), (steps) => {
        const s = new Script(crowded);
        let before = s.server.leases(s.now);
        for (const [send, pause] of steps) {
          s.now += pause;
          const got = s.send(send);
          if (got !== null) expect(got.len).toBeLessThanOrEqual(DHCP6_MAX_REPLY);
          const leases = s.server.leases(s.now);
          expect(new Set(leases.map((lease) => lease.ip)).size).toBe(leases.length);
          for (const old of before) {
            if (old.expires <= s.now || old.mac === (send.mac ?? MAC)) continue;
            expect(leases.find((lease) => lease.ip === old.ip)).toEqual(old);
          }
          before = leases;
        }
      }),
    );
  });
});
