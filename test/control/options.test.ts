import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ConfigError } from "../../src/control/errors.ts";
import { resolveForwards } from "../../src/control/forward-guests.ts";
import { type NetworkOptions, resolveOptions } from "../../src/control/options.ts";
import { DEFAULT_LIMITS } from "../../src/core/limits.ts";

/** The `ConfigError` of these options; fails when there is none. */
function fault(options: unknown): ConfigError {
  try {
    resolveOptions(options as NetworkOptions);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    expect((error as Error).message).not.toMatch(/[\r\n]/);
    return error as ConfigError;
  }
  throw new Error(`${JSON.stringify(options)} was accepted`);
}

describe("defaults", () => {
  it("are libslirp's", () => {
    expect(resolveOptions()).toEqual({
      stack: {
        net: "10.0.2.0",
        prefix: 24,
        host: "10.0.2.2",
        dns: "10.0.2.3",
        dhcpStart: "10.0.2.15",
        dhcpCount: 16,
        ipv4: true,
        ipv6: true,
        net6: "fec0::",
        prefix6: 64,
        host6: "fec0::2",
        dns6: "fec0::3",
        firstGuest: "10.0.2.15",
        hostname: null,
        domainname: null,
        dnssearch: [],
        tftpServerName: null,
        bootfile: null,
        staticLeases: new Map(),
        mtu: 65_520,
        restrict: false,
        hostOnly: false,
        isolate: false,
        hostLoopback: true,
        dnsRebind: true,
        dnsHosts: [],
        dnsZones: [],
        learn: false,
        tellAllowed: false,
        refuseHttp: true,
        gateway: true,
        dhcp: true,
        reserved: [],
        forwards: [],
        limits: DEFAULT_LIMITS,
      },
      guestForwards: [],
      smb: null,
      ask: false,
      audit: null,
      learn: null,
      tftp: null,
      outboundAddr: null,
      dnsUpstream: [],
      record: null,
      dnsHostLines: [],
      dnsZoneLines: [],
      uplinks: [],
      ruleLines: [],
      rules: { rules: [], allow: true, limits: [] },
      proxies: [],
      onAsk: null,
      onFlow: null,
      onFlowTimeout: 10_000,
      busyPoll: expect.toSatisfy((micros) => micros === 0 || micros === 100),
      signal: null,
    });
  });

  it.each([
    // Net plus 0x0202, 0x0203, 0x020f under the mask (QEMU net/slirp.c).
    ["10.0.2.0/24", "10.0.2.0", 24, "10.0.2.2", "10.0.2.3", "10.0.2.15", 16],
    ["192.168.76.0/24", "192.168.76.0", 24, "192.168.76.2", "192.168.76.3", "192.168.76.15", 16],
    ["10.0.0.0/8", "10.0.0.0", 8, "10.0.2.2", "10.0.2.3", "10.0.2.15", 16],
    ["172.16.0.0/16", "172.16.0.0", 16, "172.16.2.2", "172.16.2.3", "172.16.2.15", 16],
    ["10.1.0.0/23", "10.1.0.0", 23, "10.1.0.2", "10.1.0.3", "10.1.0.15", 16],
    ["200.0.0.0/4", "192.0.0.0", 4, "192.0.2.2", "192.0.2.3", "192.0.2.15", 16],
    // Host bits are dropped; a mask and a class are understood.
    ["192.168.5.77/24", "192.168.5.0", 24, "192.168.5.2", "192.168.5.3", "192.168.5.15", 16],
    ["192.168.5.0/255.255.255.0", "192.168.5.0", 24, "192.168.5.2", "192.168.5.3", "192.168.5.15", 16],
    ["10.0.0.0", "10.0.0.0", 8, "10.0.2.2", "10.0.2.3", "10.0.2.15", 16],
    ["192.168.1.0", "192.168.0.0", 16, "192.168.2.2", "192.168.2.3", "192.168.2.15", 16],
    // Small nets: fewer leases; where an address is no use, the first free one.
    ["10.0.2.0/27", "10.0.2.0", 27, "10.0.2.2", "10.0.2.3", "10.0.2.15", 16],
    ["10.0.2.0/28", "10.0.2.0", 28, "10.0.2.2", "10.0.2.3", "10.0.2.1", 14],
    ["10.0.2.8/29", "10.0.2.8", 29, "10.0.2.10", "10.0.2.11", "10.0.2.9", 6],
  ])("of subnet %s lie within it", (subnet, net, prefix, host, dns, dhcpStart, dhcpCount) => {
    expect(resolveOptions({ subnet }).stack).toMatchObject({ net, prefix, host, dns, dhcpStart, dhcpCount });
  });

  it.each<[NetworkOptions, string, string]>([
    [{ dns: "10.0.2.2" }, "dns", "host"],
    [{ host: "10.0.2.3" }, "host", "dns"],
    [{ host: "10.0.2.15" }, "host", "dhcpStart"],
    [{ dhcpStart: "10.0.2.2" }, "dhcpStart", "host"],
    [{ dhcpStart: "10.0.2.3" }, "dhcpStart", "dns"],
    [{ subnet: "192.168.5.0/24", dns: "192.168.5.15" }, "dns", "dhcpStart"],
  ])("are not given twice, as with QEMU: %j", (options, field, other) => {
    const [given] = [Object.values(options).at(-1)];
    expect(() => resolveOptions(options)).toThrow(
      `${field}: got "${given}"; expected another address than that of ${other}, which may be given as well`,
    );
  });

  it("make way for an address that was given where another would not be the usual one anyway", () => {
    expect(resolveOptions({ dns: "10.0.2.2", host: "10.0.2.3" }).stack).toMatchObject({ dhcpStart: "10.0.2.15" });
    expect(resolveOptions({ subnet: "10.0.2.0/28", dns: "10.0.2.1" }).stack.dhcpStart).toBe("10.0.2.3");
  });

  it("keep the leases before the broadcast address", () => {
    expect(resolveOptions({ dhcpStart: "10.0.2.250" }).stack.dhcpCount).toBe(5);
    expect(resolveOptions({ dhcpStart: "10.0.2.254" }).stack.dhcpCount).toBe(1);
  });
});

describe("what is given", () => {
  it("is taken over, canonical", () => {
    const { stack, outboundAddr, dnsUpstream } = resolveOptions({
      hostname: "vm1",
      domainname: "example.test.",
      dnsSearch: ["a.test", "_b.test."],
      staticLeases: { "52-54-00-12-34-5A": "10.0.2.40" },
      bootfile: "pxelinux.0",
      tftpServerName: "10.0.2.4",
      mtu: 1500,
      restrict: true,
      hostLoopback: false,
      outboundAddr: "2001:DB8:0::1",
      dnsUpstream: ["192.0.2.53", "192.0.2.54:5353", "::1", "[2001:db8::0:53]:54"],
      hostfwd: ["tcp:127.0.0.1:2222-10.0.2.16:22"],
      publish: ["8080:80"],
      limits: { tcpFlows: 10 },
    });
    expect(stack).toMatchObject({
      hostname: "vm1",
      domainname: "example.test",
      dnssearch: ["a.test", "_b.test"],
      staticLeases: new Map([["52:54:00:12:34:5a", "10.0.2.40"]]),
      bootfile: "pxelinux.0",
      tftpServerName: "10.0.2.4",
      mtu: 1500,
      restrict: true,
      hostLoopback: false,
      limits: { ...DEFAULT_LIMITS, tcpFlows: 10, tcpFlowsPerGuest: 8 },
    });
    expect(stack.forwards).toEqual([
      { proto: "tcp", host: { host: "127.0.0.1", port: 2222 }, guest: { host: "10.0.2.16", port: 22 } },
      { proto: "tcp", host: { host: "127.0.0.1", port: 8080 }, guest: { host: null, port: 80 } },
    ]);
    expect(outboundAddr).toBe("2001:db8::1");
    expect(dnsUpstream).toEqual([
      { host: "192.0.2.53", port: 53 },
      { host: "192.0.2.54", port: 5353 },
      { host: "::1", port: 53 },
      { host: "2001:db8::53", port: 54 },
    ]);
  });

  it.each<[string, unknown, string, unknown]>([
    ["no address", { subnet: "10.0.2" }, "subnet", "10.0.2"],
    ["too long a prefix", { subnet: "10.0.2.0/30" }, "subnet", "10.0.2.0/30"],
    ["too short a prefix", { subnet: "16.0.0.0/3" }, "subnet", "16.0.0.0/3"],
    ["a mask with a hole", { subnet: "10.0.2.0/255.0.255.0" }, "subnet", "10.0.2.0/255.0.255.0"],
    ["a negative prefix", { subnet: "10.0.2.0/-1" }, "subnet", "10.0.2.0/-1"],
    ["two prefixes", { subnet: "10.0.2.0/24/24" }, "subnet", "10.0.2.0/24/24"],
    ["loopback", { subnet: "127.0.0.0/8" }, "subnet", "127.0.0.0/8"],
    ["a net that holds loopback", { subnet: "112.0.0.0/4" }, "subnet", "112.0.0.0/4"],
    ["multicast", { subnet: "224.0.0.0/24" }, "subnet", "224.0.0.0/24"],
    ["this network", { subnet: "0.0.0.0/8" }, "subnet", "0.0.0.0/8"],
    ["a number for a text", { subnet: 24 }, "subnet", 24],
    ["octal", { host: "10.0.2.02" }, "host", "10.0.2.02"],
    ["a prefix on an address", { host: "10.0.2.2/24" }, "host", "10.0.2.2/24"],
    ["a gateway outside", { host: "10.0.3.2" }, "host", "10.0.3.2"],
    ["the net's own address", { host: "10.0.2.0" }, "host", "10.0.2.0"],
    ["its broadcast address", { dns: "10.0.2.255" }, "dns", "10.0.2.255"],
    ["two of the same", { host: "10.0.2.9", dns: "10.0.2.9" }, "dns", "10.0.2.9"],
    ["a first lease that is the gateway", { host: "10.0.2.9", dhcpStart: "10.0.2.9" }, "dhcpStart", "10.0.2.9"],
    ["an empty name", { hostname: "" }, "hostname", ""],
    ["a name with a line's end", { hostname: "a\nb" }, "hostname", "a\nb"],
    ["a long name", { hostname: "a".repeat(256) }, "hostname", "a".repeat(256)],
    ["a long label", { domainname: `${"a".repeat(64)}.test` }, "domainname", `${"a".repeat(64)}.test`],
    ["an empty label", { dnsSearch: ["ok.test", "a..b"] }, "dnsSearch.1", "a..b"],
    ["a text for a list", { dnsSearch: "a.test" }, "dnsSearch", "a.test"],
    ["a boot file without a name", { bootfile: "" }, "bootfile", ""],
    ["a boot file beyond its field", { bootfile: "é".repeat(64) }, "bootfile", "é".repeat(64)],
    ["a long busy poll", { busyPoll: 1001 }, "busyPoll", 1001],
    ["a negative busy poll", { busyPoll: -1 }, "busyPoll", -1],
    ["a small MTU", { mtu: 1499 }, "mtu", 1499],
    ["a large MTU", { mtu: 65_521 }, "mtu", 65_521],
    ["half an MTU", { mtu: 1500.5 }, "mtu", 1500.5],
    ["no number", { mtu: Number.NaN }, "mtu", Number.NaN],
    ["a text for yes", { restrict: "on" }, "restrict", "on"],
    ["a name to send from", { outboundAddr: "eth0" }, "outboundAddr", "eth0"],
    ["an address with a zone", { outboundAddr: "fe80::1%eth0" }, "outboundAddr", "fe80::1%eth0"],
    ["a resolver by name", { dnsUpstream: ["dns.test"] }, "dnsUpstream.0", "dns.test"],
    ["a resolver's port 0", { dnsUpstream: ["192.0.2.1:0"] }, "dnsUpstream.0", "192.0.2.1:0"],
    ["no forward", { hostfwd: ["2222"] }, "hostfwd", "2222"],
    ["a forward to elsewhere", { hostfwd: ["tcp::1-10.9.9.9:1"] }, "hostfwd", "tcp::1-10.9.9.9:1"],
    ["a forward to the gateway", { hostfwd: ["tcp::1-10.0.2.2:1"] }, "hostfwd", "tcp::1-10.0.2.2:1"],
    ["no family", { ipv4: false, ipv6: false }, "ipv6", false],
    ["a text for a family", { ipv6: "on" }, "ipv6", "on"],
    ["an IPv6 net without IPv6", { ipv6: false, subnet6: "fd00::/64" }, "subnet6", "fd00::/64"],
    ["an IPv4 net for IPv6", { subnet6: "10.0.0.0/24" }, "subnet6", "10.0.0.0/24"],
    ["a link-local net", { subnet6: "fe80::/64" }, "subnet6", "fe80::/64"],
    ["a net with link-local ones in it", { subnet6: "fe00::/8" }, "subnet6", "fe00::/8"],
    ["a multicast net", { subnet6: "ff02::/64" }, "subnet6", "ff02::/64"],
    ["a net of mapped addresses", { subnet6: "::ffff:0:0/96" }, "subnet6", "::ffff:0:0/96"],
    ["an IPv6 net of one address", { subnet6: "fec0::/127" }, "subnet6", "fec0::/127"],
    ["an IPv6 gateway outside its net", { host6: "fd00::1" }, "host6", "fd00::1"],
    ["an IPv6 gateway that is the net", { host6: "fec0::" }, "host6", "fec0::"],
    ["two of one IPv6 address", { host6: "fec0::9", dns6: "fec0:0::9" }, "dns6", "fec0:0::9"],
    ["a forward to the IPv6 gateway", { hostfwd: ["tcp::1-[fec0::2]:1"] }, "hostfwd", "tcp::1-[fec0::2]:1"],
    ["a forward to elsewhere", { hostfwd: ["tcp::1-[fd00::2]:1"] }, "hostfwd", "tcp::1-[fd00::2]:1"],
    [
      "a forward to a family that is off",
      { ipv6: false, hostfwd: ["tcp::1-[fec0::15]:1"] },
      "hostfwd",
      "tcp::1-[fec0::15]:1",
    ],
    ["half a forward", { publish: ["80"] }, "publish", "80"],
    ["no MAC", { staticLeases: { x: "10.0.2.40" } }, "staticLeases", "x"],
    ["a group MAC", { staticLeases: { "01:00:5e:00:00:01": "10.0.2.40" } }, "staticLeases", "01:00:5e:00:00:01"],
    ["an unknown option", { subnett: "10.0.2.0/24" }, "subnett", "10.0.2.0/24"],
    ["an unknown limit", { limits: { flows: 1 } }, "limits.flows", 1],
    ["more for one guest than for all", { limits: { tcpFlowsPerGuest: 16_385 } }, "limits.tcpFlowsPerGuest", 16_385],
    ["a limit of none", { limits: { tcpFlows: 0 } }, "limits.tcpFlows", 0],
    ["no object", "10.0.2.0/24", "options", "10.0.2.0/24"],
    ["null", null, "options", null],
  ])("is refused when it is %s", (_, options, field, value) => {
    const error = fault(options);
    expect(error.field).toBe(field);
    expect(error.value).toEqual(value);
    expect(error.message).toContain(`${field}: got `);
  });

  it("cannot break the line by an option's name", () => {
    expect(fault({ "a\nb": 1 }).message).toBe("a\\u000ab: got 1; there is no such option");
  });

  it("has each static address once", () => {
    const error = fault({ staticLeases: { "52:54:00:00:00:01": "10.0.2.40", "52:54:00:00:00:02": "10.0.2.40" } });
    expect(error.message).toContain("expected another address than that of 52:54:00:00:00:01");
  });

  it("is told in the words of the option", () => {
    expect(fault({ subnet: "10.0.2.0/33" }).message).toBe(
      'subnet: got "10.0.2.0/33"; expected an IPv4 network with a prefix from 4 to 29, like 10.0.2.0/24',
    );
    expect(fault({ host: "10.0.3.2" }).message).toBe(
      'host: got "10.0.3.2"; expected an address within 10.0.2.0/24, other than its first and its last',
    );
  });
});

describe("IPv6", () => {
  const addresses = (options: NetworkOptions) => {
    const { net6, prefix6, host6, dns6, firstGuest } = resolveOptions({ ipv4: false, ...options }).stack;
    return [`${net6}/${prefix6}`, host6, dns6, firstGuest];
  };
  it.each<[NetworkOptions, string[]]>([
    [{}, ["fec0::/64", "fec0::2", "fec0::3", "fec0::15"]],
    [{ subnet6: "2001:db8:1::99/64" }, ["2001:db8:1::/64", "2001:db8:1::2", "2001:db8:1::3", "2001:db8:1::15"]],
    [{ subnet6: "fd00::" }, ["fd00::/64", "fd00::2", "fd00::3", "fd00::15"]],
    [{ dns6: "fec0::2" }, ["fec0::/64", "fec0::3", "fec0::2", "fec0::15"]],
    [{ host6: "fec0::15", dns6: "fec0::53" }, ["fec0::/64", "fec0::15", "fec0::53", "fec0::16"]],
    [{ subnet6: "fd00::/126" }, ["fd00::/126", "fd00::2", "fd00::3", "fd00::1"]],
  ])("%j", (options, want) => expect(addresses(options)).toEqual(want));

  it("the first guest is IPv4's as long as there is one", () => {
    expect(resolveOptions({ subnet6: "fd00::/64" }).stack.firstGuest).toBe("10.0.2.15");
  });
});

describe("any input", () => {
  it("is accepted or is a ConfigError of one line", () => {
    const texts = fc.oneof(fc.string({ unit: "binary" }), fc.ipV4(), fc.ipV6(), fc.domain());
    const shape = fc.record(
      {
        subnet: fc.oneof(
          texts,
          fc.tuple(fc.ipV4(), fc.nat(40)).map(([ip, n]) => `${ip}/${n}`),
        ),
        host: texts,
        dns: texts,
        ipv4: fc.boolean(),
        ipv6: fc.boolean(),
        subnet6: fc.oneof(
          texts,
          fc.tuple(fc.ipV6(), fc.nat(140)).map(([ip, n]) => `${ip}/${n}`),
        ),
        host6: texts,
        dns6: texts,
        dhcpStart: texts,
        hostname: texts,
        dnsSearch: fc.array(texts),
        mtu: fc.oneof(fc.integer(), fc.double()),
        staticLeases: fc.dictionary(texts, texts),
        dnsUpstream: fc.array(texts),
        hostfwd: fc.array(texts),
        publish: fc.array(texts),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(fc.oneof(shape, fc.anything()), (options) => {
        try {
          resolveOptions(options as NetworkOptions);
        } catch (error) {
          expect(error).toBeInstanceOf(ConfigError);
          expect((error as Error).message).not.toMatch(/[\p{Cc}\u2028\u2029]/u);
        }
      }),
    );
  });

  it("that is a net with room gives distinct addresses within it", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 223 }),
        fc.nat(2 ** 24 - 1),
        fc.integer({ min: 8, max: 29 }),
        (a, rest, prefix) => {
          fc.pre(a !== 127);
          const text = [a, rest >>> 16, (rest >>> 8) & 255, rest & 255].join(".");
          const { stack } = resolveOptions({ subnet: `${text}/${prefix}` });
          const own = [stack.host, stack.dns, stack.dhcpStart];
          expect(new Set(own).size).toBe(3);
          expect(stack.dhcpCount).toBeGreaterThan(0);
          // What was derived is also right when given.
          const given = { host: stack.host, dns: stack.dns, dhcpStart: stack.dhcpStart };
          expect(resolveOptions({ subnet: `${text}/${prefix}`, ...given }).stack).toEqual(stack);
        },
      ),
    );
  });
});

describe("a forward for a network that runs", () => {
  const { stack } = resolveOptions();
  it("is taken in either grammar and checked against its net", () => {
    expect(resolveForwards("2222:22", stack)).toHaveLength(1);
    expect(resolveForwards("127.0.0.1:2222-2223:22-23", stack)).toHaveLength(2);
    expect(resolveForwards("tcp::2222-:22", stack)).toEqual([
      { proto: "tcp", host: { host: "0.0.0.0", port: 2222 }, guest: { host: null, port: 22 } },
    ]);
    expect(() => resolveForwards("tcp::2222-10.0.3.1:22", stack)).toThrow(ConfigError);
  });
});
