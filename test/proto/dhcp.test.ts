import { describe, expect, test } from "vitest";
import { dhcpSearchList } from "../../src/wire/dhcp.ts";
import { proves } from "../cases/proves.ts";
import {
  ACK,
  ascii,
  DECLINE,
  DISCOVER,
  fixture,
  guestMac,
  INFORM,
  ip4,
  MAC,
  message,
  NAK,
  OFFER,
  RELEASE,
  REQUEST,
  Script,
} from "./dhcp-script.ts";

const HOST = "10.0.2.2";
const EVERYONE = "255.255.255.255";
const FULL = {
  hostname: "guest",
  domainname: "lab.test",
  dnssearch: ["lab.test"],
  tftpServerName: "boot.lab.test",
  bootfile: "boot.ipxe",
  mtu: 9000,
};

describe("DISCOVER (RFC 2131 section 4.3.1)", () => {
  test("is answered with an OFFER of the first address, to all", () => {
    expect(new Script().send({ type: DISCOVER })).toMatchObject({
      type: OFFER,
      xid: 0x12345678,
      yiaddr: "10.0.2.15",
      siaddr: HOST,
      ciaddr: "0.0.0.0",
      chaddr: MAC,
      to: EVERYONE,
      broadcast: true,
    });
  });

  test.each([0, 0x8000])(
    proves("dhcp.broadcast", "flags 0x%x come back, and the reply is broadcast either way"),
    (flags) => {
      expect(new Script().send({ flags })).toMatchObject({ flags, to: EVERYONE, broadcast: true });
    },
  );

  test("the requested address (option 50) is offered if it is free", () => {
    expect(new Script().send({ requestedIp: "10.0.2.20" })?.yiaddr).toBe("10.0.2.20");
  });

  test.each(["10.0.2.2", "10.0.2.3", "10.0.2.99", "192.168.1.5", "10.0.2.255"])(
    "a requested %s, not of the pool, is passed over",
    (requestedIp) => {
      expect(new Script().send({ requestedIp })?.yiaddr).toBe("10.0.2.15");
    },
  );

  test(
    proves(
      "clients.discovers",
      "repeated a second later, or several times at once, it is offered the same address again",
    ),
    () => {
      const script = new Script();
      for (const pause of [0, 1000, 1000, 0, 0, 0]) {
        script.now += pause;
        expect(script.send({ type: DISCOVER })).toMatchObject({ type: OFFER, yiaddr: "10.0.2.15" });
      }
      expect(script.send({ type: DISCOVER, mac: "52:54:00:00:00:99" })?.yiaddr).toBe("10.0.2.16");
    },
  );

  test("a requested address of another guest is passed over", () => {
    const s = new Script();
    s.acquire();
    expect(s.send({ mac: guestMac(1), requestedIp: "10.0.2.15" })?.yiaddr).toBe("10.0.2.16");
  });

  test(proves("dhcp.options", "carries what libslirp's does, and T1 and T2"), () => {
    const offer = new Script(FULL).send({});
    expect(offer?.order).toEqual([53, 54, 51, 58, 59, 1, 3, 6, 12, 15, 66, 119]);
    expect(Object.fromEntries(offer!.options)).toEqual({
      53: [OFFER],
      54: ip4(HOST),
      51: [0, 1, 0x51, 0x80],
      58: [0, 0, 0xa8, 0xc0],
      59: [0, 1, 0x27, 0x50],
      1: [255, 255, 255, 0],
      3: ip4(HOST),
      6: ip4("10.0.2.3"),
      12: ascii("guest"),
      15: ascii("lab.test"),
      66: ascii("boot.lab.test"),
      119: [3, ...ascii("lab"), 4, ...ascii("test"), 0],
    });
  });

  test("what is not configured is not offered", () => {
    expect(new Script().send({})?.order).toEqual([53, 54, 51, 58, 59, 1, 3, 6]);
  });

  test("a restricted guest gets no router, no DNS server and no routes", () => {
    expect(new Script({ restrict: true }).send({ ask: [3, 6, 121] })?.order).toEqual([53, 54, 51, 58, 59, 1]);
  });

  test("an offer lapses after 30 seconds, not before", () => {
    const s = new Script({ dhcpCount: 1 });
    s.send({});
    s.now += 29_999;
    expect(s.send({ mac: guestMac(1) })).toBeNull();
    s.now += 1;
    expect(s.send({ mac: guestMac(1) })?.yiaddr).toBe("10.0.2.15");
  });
});

describe("REQUEST answering an offer (RFC 2131 section 4.3.2, SELECTING)", () => {
  const select = { type: REQUEST, requestedIp: "10.0.2.15", serverId: HOST };

  test("is acknowledged and bound for a day", () => {
    const s = new Script(FULL);
    s.send({});
    expect(s.send(select)).toMatchObject({ type: ACK, yiaddr: "10.0.2.15", ciaddr: "0.0.0.0", to: EVERYONE });
    expect(s.server.leases(s.now)).toEqual([
      { ip: "10.0.2.15", mac: MAC, hostname: null, expires: s.now + 86_400_000 },
    ]);
    expect(s.events).toEqual([{ type: "lease", mac: MAC, ip: "10.0.2.15", hostname: null, action: "bound" }]);
  });

  test("naming another server voids our offer, in silence", () => {
    const s = new Script({ dhcpCount: 1 });
    s.send({});
    expect(s.send({ ...select, serverId: "10.0.2.9" })).toBeNull();
    expect(s.drops).toEqual([]);
    expect(s.send({ mac: guestMac(1) })?.yiaddr).toBe("10.0.2.15");
  });

  test("naming another server does not touch a bound lease", () => {
    const s = new Script();
    s.acquire();
    s.send({ ...select, serverId: "10.0.2.9" });
    expect(s.bound()).toEqual(["10.0.2.15"]);
  });

  test("for another address than the one offered is refused", () => {
    const s = new Script();
    s.send({});
    expect(s.send({ ...select, requestedIp: "10.0.2.16" })?.type).toBe(NAK);
  });

  test("a lapsed offer is still honoured while the address is free", () => {
    const s = new Script();
    s.send({});
    s.now += 60_000;
    expect(s.send(select)?.type).toBe(ACK);
  });

  test("a lapsed offer that went to another is refused", () => {
    const s = new Script({ dhcpCount: 1 });
    s.send({});
    s.now += 60_000;
    expect(s.acquire({ mac: guestMac(1) })).toBe("10.0.2.15");
    expect(s.send(select)?.type).toBe(NAK);
  });

  test("repeated, it is acknowledged again and reported once", () => {
    const s = new Script();
    s.send({});
    s.send(select);
    expect(s.send(select)?.type).toBe(ACK);
    expect(s.events).toHaveLength(1);
  });

  test("without any address it is malformed", () => {
    const s = new Script();
    expect(s.send({ type: REQUEST, serverId: HOST })).toBeNull();
    expect(s.drops).toEqual(["dhcp-malformed"]);
  });
});

describe("REQUEST after a reboot (INIT-REBOOT)", () => {
  test("for the client's own address is acknowledged", () => {
    const s = new Script();
    s.acquire();
    expect(s.send({ type: REQUEST, requestedIp: "10.0.2.15" })).toMatchObject({ type: ACK, to: EVERYONE });
  });

  test.each([
    ["on another network", "192.168.1.5"],
    ["outside the pool", "10.0.2.200"],
    ["of the gateway", HOST],
    ["of the DNS server", "10.0.2.3"],
    ["of all", EVERYONE],
  ])(proves("dhcp.init-reboot-nak", "for an address %s gets a NAK with a message (option 56)"), (_, requestedIp) => {
    const nak = new Script(FULL).send({ type: REQUEST, requestedIp, clientId: [0, 1, 2, 3] });
    expect(nak).toMatchObject({
      type: NAK,
      yiaddr: "0.0.0.0",
      siaddr: "0.0.0.0",
      file: "",
      to: EVERYONE,
      broadcast: true,
    });
    expect(nak?.order).toEqual([53, 54, 61, 56]);
    expect(nak?.options.get(56)?.length).toBeGreaterThan(0);
  });

  test("for another guest's address gets a NAK", () => {
    const s = new Script();
    s.acquire();
    expect(s.send({ type: REQUEST, mac: guestMac(1), requestedIp: "10.0.2.15" })?.type).toBe(NAK);
  });

  test("for another address than the one it has gets a NAK", () => {
    const s = new Script();
    s.acquire();
    expect(s.send({ type: REQUEST, requestedIp: "10.0.2.20" })?.type).toBe(NAK);
  });

  test("for a free address that we know nothing of is acknowledged: it was its own before our restart", () => {
    const s = new Script();
    expect(s.send({ type: REQUEST, requestedIp: "10.0.2.20" })).toMatchObject({ type: ACK, yiaddr: "10.0.2.20" });
    expect(s.acquire({ mac: guestMac(1), requestedIp: "10.0.2.20" })).toBe("10.0.2.15");
  });
});

describe("renewing and rebinding", () => {
  const renew = { type: REQUEST, ciaddr: "10.0.2.15", srcIp: "10.0.2.15" };

  test(proves("dhcp.renew", "a renewal is acknowledged to the client's address, not to all, for another day"), () => {
    const s = new Script();
    s.acquire();
    s.now += 43_200_000;
    expect(s.send(renew)).toMatchObject({
      type: ACK,
      ciaddr: "10.0.2.15",
      yiaddr: "10.0.2.15",
      to: "10.0.2.15",
      broadcast: false,
    });
    expect(s.server.leases(s.now)[0]?.expires).toBe(s.now + 86_400_000);
    expect(s.events).toHaveLength(1);
  });

  test(
    proves(
      "dhcp.rebind",
      "rebinding, broadcast and without a server's name, is acknowledged alike (RFC 2131 section 4.3.2)",
    ),
    () => {
      const s = new Script();
      s.acquire();
      s.now += 75_600_000;
      const rebind = { type: REQUEST, ciaddr: "10.0.2.15", srcIp: "10.0.2.15", flags: 0x8000 };
      expect(s.send(rebind)).toMatchObject({ type: ACK, ciaddr: "10.0.2.15", yiaddr: "10.0.2.15" });
      expect(s.server.leases(s.now)[0]?.expires).toBe(s.now + 86_400_000);
    },
  );

  test("an expired lease is renewed as long as nobody else has the address", () => {
    const s = new Script({ dhcpCount: 1 });
    s.acquire();
    s.now += 86_400_000;
    expect(s.bound()).toEqual([]);
    expect(s.send(renew)?.type).toBe(ACK);
    s.now += 86_400_000;
    expect(s.acquire({ mac: guestMac(1) })).toBe("10.0.2.15");
    expect(s.send(renew)).toMatchObject({ type: NAK, to: EVERYONE, broadcast: true });
  });

  test("a client that we know nothing of keeps its address if it is free", () => {
    expect(new Script().send(renew)).toMatchObject({ type: ACK, yiaddr: "10.0.2.15", to: "10.0.2.15" });
  });

  test("another guest's lease cannot be renewed", () => {
    const s = new Script();
    s.acquire();
    expect(s.send({ ...renew, mac: guestMac(1) })?.type).toBe(NAK);
    expect(s.server.leases(s.now)[0]?.mac).toBe(MAC);
  });
});

describe("INFORM (RFC 2131 section 4.3.5)", () => {
  test(proves("dhcp.inform", "is answered at ciaddr, without an address or lease times"), () => {
    const s = new Script(FULL);
    const ack = s.send({ type: INFORM, ciaddr: "10.0.2.77", srcIp: "10.0.2.77" });
    expect(ack).toMatchObject({ type: ACK, yiaddr: "0.0.0.0", ciaddr: "10.0.2.77", to: "10.0.2.77", broadcast: false });
    expect(ack?.order).toEqual([53, 54, 1, 3, 6, 12, 15, 66, 119]);
    expect(s.bound()).toEqual([]);
  });

  test(proves("dhcp.inform", "without ciaddr it is answered at its source"), () => {
    expect(new Script().send({ type: INFORM, srcIp: "10.0.2.77" })).toMatchObject({
      to: "10.0.2.77",
      broadcast: false,
    });
  });

  test.each(["192.0.2.1", "127.0.0.1", "10.0.2.255", "224.0.0.1"])("no reply is sent to %s", (ciaddr) => {
    expect(new Script().send({ type: INFORM, ciaddr })).toMatchObject({ to: EVERYONE, broadcast: true });
  });

  test("is answered though all addresses are taken", () => {
    const s = new Script({ dhcpCount: 1 });
    s.acquire({ mac: guestMac(1) });
    expect(s.send({ type: INFORM, ciaddr: "10.0.2.77" })?.type).toBe(ACK);
  });
});

describe("DECLINE (RFC 2131 section 4.3.3)", () => {
  const decline = { type: DECLINE, requestedIp: "10.0.2.15", serverId: HOST };

  test(proves("dhcp.decline", "sets the address aside for ten minutes"), () => {
    const s = new Script({ dhcpCount: 2 });
    s.acquire();
    expect(s.send(decline)).toBeNull();
    expect(s.events.at(-1)).toMatchObject({ action: "declined", ip: "10.0.2.15" });
    expect(s.acquire()).toBe("10.0.2.16");
    expect(s.send({ mac: guestMac(1) })).toBeNull();
    s.now += 599_999;
    expect(s.send({ mac: guestMac(1) })).toBeNull();
    s.now += 1;
    expect(s.acquire({ mac: guestMac(1) })).toBe("10.0.2.15");
  });

  test("of another guest's address is counted, and does nothing", () => {
    const s = new Script();
    s.acquire();
    expect(s.send({ ...decline, mac: guestMac(1) })).toBeNull();
    expect(s.drops).toEqual(["dhcp-not-holder"]);
    expect(s.bound()).toEqual(["10.0.2.15"]);
  });

  test("towards another server is none of ours", () => {
    const s = new Script();
    s.acquire();
    s.send({ ...decline, serverId: "10.0.2.9" });
    expect(s.bound()).toEqual(["10.0.2.15"]);
  });
});

describe("RELEASE (RFC 2131 section 4.3.4)", () => {
  const release = { type: RELEASE, ciaddr: "10.0.2.15", serverId: HOST };

  test(proves("dhcp.release", "frees the address, keeps it for its client, and gets no answer"), () => {
    const s = new Script();
    s.acquire();
    expect(s.send(release)).toBeNull();
    expect(s.bound()).toEqual([]);
    expect(s.events.at(-1)).toMatchObject({ action: "released" });
    expect(s.acquire({ mac: guestMac(1), requestedIp: "10.0.2.15" })).toBe("10.0.2.16");
    expect(s.acquire()).toBe("10.0.2.15");
  });

  test("of another guest's address is counted, and does nothing", () => {
    const s = new Script();
    s.acquire();
    s.send({ ...release, mac: guestMac(1) });
    expect(s.drops).toEqual(["dhcp-not-holder"]);
    expect(s.bound()).toEqual(["10.0.2.15"]);
  });
});

describe("what the client says about the reply", () => {
  test("the parameter list's order is kept, the essentials are there anyway (RFC 2132 section 9.8)", () => {
    expect(new Script(FULL).send({ ask: [15, 119, 6, 200, 15, 3] })?.order).toEqual([
      53, 54, 51, 15, 119, 6, 3, 58, 59, 1, 12, 66,
    ]);
  });

  test(proves("dhcp.client-id", "the client identifier comes back as sent, in every reply (RFC 6842)"), () => {
    const s = new Script();
    const clientId = [255, 1, 2, 3, 4, 0, 3, 0, 1];
    expect(s.send({ clientId })?.options.get(61)).toEqual(clientId);
    expect(s.send({ clientId, type: REQUEST, requestedIp: "10.0.2.15" })?.options.get(61)).toEqual(clientId);
    expect(s.send({ clientId, type: REQUEST, requestedIp: "10.9.9.9" })?.options.get(61)).toEqual(clientId);
    expect(s.send({ clientId, type: INFORM, ciaddr: "10.0.2.15" })?.options.get(61)).toEqual(clientId);
    expect(s.send({})?.options.has(61)).toBe(false);
  });

  const crowded = {
    ...FULL,
    domainname: `${"d".repeat(60)}.${"e".repeat(60)}.${"f".repeat(60)}.test`,
    dnssearch: [`${"g".repeat(60)}.${"h".repeat(60)}.test`, "one.test", "two.test"],
    mtu: 65_520,
  };

  test.each([undefined, 0, 300, 576])(
    proves("dhcp.size", "a maximum of %s means 576 bytes with IP and UDP headers (option 57)"),
    (size) => {
      const offer = new Script(crowded).send(size === undefined ? {} : { maxSize: size });
      expect(offer?.len).toBeLessThanOrEqual(548);
      expect(offer?.len).toBeGreaterThan(480);
    },
  );

  test("of fourteen search domains those are told that fit, the first ones whole, and that is said once", () => {
    const names = Array.from({ length: 14 }, (_, i) => `department-number-${i}.some-company-of-size-${i}.example`);
    const s = new Script({ ...FULL, dnssearch: names });
    const list = s.send({ maxSize: 576 })?.options.get(119) ?? [];
    const whole = [...dhcpSearchList(names)];
    expect(list.length).toBeGreaterThan(100);
    expect(list.length).toBeLessThan(whole.length);
    expect(list).toEqual(whole.slice(0, list.length));
    // It ends where a name does.
    const counts = names.map((_, i) => dhcpSearchList(names.slice(0, i + 1)).length);
    expect(counts).toContain(list.length);
    s.send({ maxSize: 576 });
    expect(s.events.filter(({ type }) => type === "notice")).toHaveLength(1);
    expect(s.send({ maxSize: 1500 })?.options.get(119)).toEqual(whole);
  });

  test("the essentials survive the crowd, though they were asked for last", () => {
    const clientId = new Array(255).fill(7);
    const offer = new Script(crowded).send({ clientId, ask: [119, 15, 66, 12, 1, 3, 6] });
    for (const code of [53, 54, 51, 61, 1, 3, 6]) expect(offer?.options.has(code)).toBe(true);
    expect(offer?.file).toBe("boot.ipxe");
  });

  test(proves("dhcp.options", "without names for `file` and `sname`, these take what is too much (option 52)"), () => {
    const dnssearch = [`${"g".repeat(60)}.${"h".repeat(40)}.test`];
    const s = new Script({ hostname: "guest", domainname: "lab.test", dnssearch });
    const offer = s.send({ clientId: new Array(160).fill(7) });
    expect(offer?.options.get(52)).toEqual([1]);
    expect(offer?.options.get(119)).toHaveLength(108);
    expect(offer?.len).toBeLessThanOrEqual(548);
  });

  test(
    proves("dhcp.size", "a client that takes more gets all, but never more than 1500 bytes with the headers"),
    () => {
      const dnssearch = Array.from({ length: 200 }, (_, i) => `name-${i}.test`);
      expect(new Script(crowded).send({ maxSize: 1500 })?.options.get(52)).toBeUndefined();
      expect(new Script({ ...crowded, dnssearch }).send({ maxSize: 65_535 })?.len).toBeLessThanOrEqual(1472);
    },
  );

  test(proves("dhcp.options", "a client's options in `file` and `sname` are read (option 52)"), () => {
    const bytes = message({ type: REQUEST, raw: [52, 1, 3] });
    bytes.set([50, 4, 10, 0, 2, 21, 255], 108);
    bytes.set([54, 4, 10, 0, 2, 2, 255], 44);
    expect(new Script().sendBytes(bytes)).toMatchObject({ type: ACK, yiaddr: "10.0.2.21" });
  });

  test(
    proves("dhcp.options", "the MTU is given to who asks, in the OFFER and in the ACK (RFC 2132 section 5.1)"),
    () => {
      const s = new Script({ mtu: 65_520 });
      expect(s.send({ ask: [1, 26] })?.options.get(26)).toEqual([0xff, 0xf0]);
      expect(s.send({ type: REQUEST, requestedIp: "10.0.2.15", ask: [26] })?.options.get(26)).toEqual([0xff, 0xf0]);
      expect(s.send({ ask: [1, 3, 6] })?.options.has(26)).toBe(false);
      expect(s.send({})?.options.has(26)).toBe(false);
    },
  );

  test(proves("dhcp.options", "classless routes are given to who asks (RFC 3442)"), () => {
    expect(new Script().send({ ask: [121] })?.options.get(121)).toEqual([0, ...ip4(HOST)]);
    expect(new Script().send({})?.options.has(121)).toBe(false);
  });
});

describe("booting", () => {
  test("the boot file is in `file`, the server in siaddr and sname and option 66", () => {
    const offer = new Script(FULL).send({});
    expect(offer).toMatchObject({ file: "boot.ipxe", siaddr: HOST, sname: "boot.lab.test" });
    expect(offer?.options.get(66)).toEqual(ascii("boot.lab.test"));
    expect(offer?.options.has(67)).toBe(false);
  });

  test(proves("dhcp.options", "option 67 is there when asked for, in every reply that is not a NAK"), () => {
    const s = new Script(FULL);
    expect(s.send({ ask: [67] })?.options.get(67)).toEqual(ascii("boot.ipxe"));
    expect(s.send({ type: REQUEST, requestedIp: "10.0.2.15", ask: [67] })?.options.get(67)).toEqual(ascii("boot.ipxe"));
  });

  test("a TFTP server's IPv4 address is the next server", () => {
    expect(new Script({ tftpServerName: "10.0.2.77" }).send({})?.siaddr).toBe("10.0.2.77");
  });

  test("a boot file too long for `file` goes into option 67 unasked", () => {
    const bootfile = `http://10.0.2.2/${"p".repeat(150)}.efi`;
    const offer = new Script({ bootfile }).send({});
    expect(offer?.file).toBe("");
    expect(offer?.options.get(67)).toEqual(ascii(bootfile));
  });

  test(proves("clients.http-boot", "UEFI HTTP boot gets its class back and the URI in option 67"), () => {
    const offer = new Script({ bootfile: "http://10.0.2.2/a.efi" }).send({
      vendorClass: "HTTPClient:Arch:00016:UNDI:003001",
    });
    expect(offer?.options.get(60)).toEqual(ascii("HTTPClient"));
    expect(offer?.options.get(67)).toEqual(ascii("http://10.0.2.2/a.efi"));
  });

  test("PXE gets no class back: we are not a PXE boot server", () => {
    const offer = new Script(FULL).send({ vendorClass: "PXEClient:Arch:00000:UNDI:002001" });
    expect(offer?.options.has(60)).toBe(false);
  });
});

describe("BOOTP (RFC 951, RFC 1534)", () => {
  test.each([true, false])(
    proves("dhcp.bootp", "gets an address for good in 300 bytes, without DHCP's options (cookie: %s)"),
    (cookie) => {
      const s = new Script(FULL);
      const reply = s.send({ type: 0, cookie, pad: 300 });
      expect(reply).toMatchObject({
        type: null,
        yiaddr: "10.0.2.15",
        file: "boot.ipxe",
        siaddr: HOST,
        len: 300,
        to: EVERYONE,
      });
      expect(reply?.order).toEqual([1, 3, 6, 12, 15, 66]);
      s.now += 1e12;
      expect(s.server.leases(s.now)).toMatchObject([{ ip: "10.0.2.15", expires: Number.POSITIVE_INFINITY }]);
    },
  );

  test("a client that has an address gets the rest only", () => {
    const s = new Script(FULL);
    expect(s.send({ type: 0, ciaddr: "10.0.2.77", pad: 300 })).toMatchObject({ yiaddr: "0.0.0.0", to: "10.0.2.77" });
    expect(s.bound()).toEqual([]);
  });

  test("with all addresses taken there is silence", () => {
    const s = new Script({ dhcpCount: 1 });
    s.acquire({ mac: guestMac(1) });
    expect(s.send({ type: 0, pad: 300 })).toBeNull();
    expect(s.drops).toEqual(["dhcp-no-address"]);
  });
});

describe("what is not answered", () => {
  test.each([
    ["239 bytes", message({}).subarray(0, 239)],
    ["hlen 255", message({ hlen: 255 })],
    ["a server's OFFER", message({ type: OFFER })],
    ["a server's ACK", message({ type: ACK })],
    ["an unknown type", message({ type: 99 })],
    ["type 0", message({ type: 0, raw: [53, 1, 0] })],
    ["a type of two bytes", message({ type: 0, raw: [53, 2, 1, 1] })],
    ["op 2", message({ op: 2 })],
    [
      "a client identifier of 300 bytes",
      message({ raw: [61, 200, ...Array(200).fill(1), 61, 100, ...Array(100).fill(1)] }),
    ],
  ])(proves("bad.dhcp.short", "%s is counted as malformed"), (_, bytes) => {
    const s = new Script();
    expect(s.sendBytes(bytes)).toBeNull();
    expect(s.drops).toEqual(["dhcp-malformed"]);
  });

  test("a relay agent's message is counted: we could not answer it", () => {
    const s = new Script();
    expect(s.send({ giaddr: "10.0.2.9" })).toBeNull();
    expect(s.drops).toEqual(["dhcp-relayed"]);
  });
});

describe("the guest's own name (option 12)", () => {
  test.each([
    ["alpine", "alpine"],
    ["My_PC", "my-pc"],
    ["web.lab.test.", "web"],
    // A name of the world's: only its first label is the guest's to say.
    ["www.bank.example", "www"],
    ["deb.debian.org", "deb"],
    ["metadata.google.internal", null],
    // What programs look for by themselves is nobody's.
    ["wpad", null],
    ["WPAD.corp.example", null],
    ["localhost", null],
    ["_gateway", null],
    ["instance-data", null],
    ["data-server", null],
    // Nor what is read as an address before any name is asked for.
    ["127", null],
    ["10.0.2.2", null],
    ["0x7f000001", null],
    [".example", null],
    ["nul\0behind", "nul"],
    ["<script>\n\x1b[31m", "script----31m"],
    ["-a-.-", "a"],
    ["...", null],
    ["\xff\xfe", null],
    ["x".repeat(100), "x".repeat(63)],
  ])("%j is recorded as %j", (hostname, expected) => {
    const s = new Script();
    s.acquire({ hostname });
    expect(s.server.leases(s.now)[0]?.hostname).toBe(expected);
  });

  test("stays when a renewal does not repeat it, and goes when another client gets the address", () => {
    const s = new Script({ dhcpCount: 1 });
    s.acquire({ hostname: "alpine" });
    s.send({ type: REQUEST, ciaddr: "10.0.2.15" });
    expect(s.server.leases(s.now)[0]?.hostname).toBe("alpine");
    s.send({ type: RELEASE, ciaddr: "10.0.2.15" });
    s.acquire({ mac: guestMac(1) });
    expect(s.server.leases(s.now)[0]?.hostname).toBeNull();
  });
});

describe("messages of less than 300 bytes", () => {
  test(proves("dhcp.short", "are answered: only a BOOTP message without a cookie has to be that long"), () => {
    const s = new Script();
    expect(message({}).length).toBeLessThan(300);
    expect(s.send({})?.type).toBe(OFFER);
    expect(s.send({ type: REQUEST, requestedIp: "10.0.2.15" })?.type).toBe(ACK);
  });

  test("are answered with 300 bytes (RFC 1542 section 2.1)", () => {
    expect(new Script().send({})?.len).toBe(300);
  });
});

describe("real clients' messages", () => {
  test.each(["udhcpc", "dhclient", "ipxe"])(
    proves("dhcp.size", "%s gets its address and keeps to its maximum"),
    (client) => {
      const s = new Script({ ...FULL, mtu: 65_520 });
      expect(s.sendBytes(fixture(`${client}-discover`))).toMatchObject({ type: OFFER, yiaddr: "10.0.2.15" });
      const ack = s.sendBytes(fixture(`${client}-request`));
      expect(ack).toMatchObject({ type: ACK, yiaddr: "10.0.2.15", chaddr: MAC });
      expect(ack?.len).toBeLessThanOrEqual(client === "ipxe" ? 1472 : 548);
      expect(s.drops).toEqual([]);
    },
  );

  test("dhclient's RELEASE frees its lease", () => {
    const s = new Script();
    s.sendBytes(fixture("dhclient-discover"));
    s.sendBytes(fixture("dhclient-request"));
    expect(s.bound()).toEqual(["10.0.2.15"]);
    expect(s.sendBytes(fixture("dhclient-release"), "10.0.2.15")).toBeNull();
    expect(s.bound()).toEqual([]);
  });

  test("a boot loader and the system after it share one address", () => {
    const s = new Script();
    s.sendBytes(fixture("ipxe-discover"));
    s.sendBytes(fixture("ipxe-request"));
    expect(s.acquire({ clientId: [255, 1, 2, 3, 4, 0, 2, 9, 9] })).toBe("10.0.2.15");
    expect(s.sendBytes(fixture("ipxe-discover"))?.yiaddr).toBe("10.0.2.15");
  });
});
