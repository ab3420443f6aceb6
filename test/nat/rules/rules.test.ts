import { describe, expect, it, test } from "vitest";
import { parseRules } from "../../../src/control/rules.ts";
import { addressFromText } from "../../../src/core/address.ts";
import type { Link } from "../../../src/core/link.ts";
import { Meters } from "../../../src/nat/rules/meters.ts";
import { judge, type Subject } from "../../../src/nat/rules/rules.ts";
import { get16 } from "../../../src/wire/bytes.ts";
import {
  DNS_A,
  DNS_AAAA,
  DNS_ANY,
  DNS_HTTPS,
  DNS_NOERROR,
  DNS_REFUSED,
  DNS_SVCB,
  dnsRcode,
  dnsReply,
} from "../../../src/wire/dns.ts";
import { answer, query } from "../../support/dns.ts";
import { PacketScript } from "../../support/packet-script.ts";

it.each([
  ["shared", false, 1],
  ["restricted", true, 0],
])(
  "a rule that names a metadata address opens it, but no way out where there is none: %s",
  async (_, restrict, dials) => {
    const script = new PacketScript({ restrict, rules: ["allow 169.254.169.254", "default deny"] });
    script.send({ ip: { dst: "169.254.169.254" }, tcp: { srcPort: 4000, dstPort: 80, flags: "SYN", seq: 1 } });
    await Promise.resolve();
    expect(script.host.dialled).toHaveLength(dials);
    const refused = script.events.filter(({ type }) => type === "flow-refused");
    expect(refused).toHaveLength(1 - dials);
  },
);

/** Asks 10.0.2.3 from `srcPort`; what the host's resolver was asked, and the answer if there is one. */
async function ask(script: PacketScript, name: string, type: number, srcPort = 5000): Promise<Uint8Array | undefined> {
  script.send({ ip: { dst: "10.0.2.3" }, udp: { srcPort, dstPort: 53 }, payload: query(name, type) });
  await Promise.resolve();
  await Promise.resolve();
  script.host.run();
  return script.takeAll().find(({ udp }) => udp?.dstPort === srcPort)?.payload;
}

describe("RFC 9460: records that tell how to hide a name", () => {
  test.each([DNS_HTTPS, DNS_SVCB, DNS_ANY])(
    "type %i of an allowed name does not exist, and nobody is asked",
    async (type) => {
      const script = new PacketScript({ rules: ["allow tcp *.good.test:443", "default deny"] });
      const found = (await ask(script, "www.good.test", type))!;
      expect([dnsRcode(found, 0), get16(found, 6)]).toEqual([DNS_NOERROR, 0]);
      expect(script.queries).toEqual([]);
      await ask(script, "www.good.test", DNS_A);
      expect(script.queries).toHaveLength(1);
    },
  );
  test.each(["allow tcp *.good.test:443 ech=allow", "allow dns any"])("does with %s", async (rule) => {
    const script = new PacketScript({ rules: [rule, "default deny"] });
    await ask(script, "www.good.test", DNS_HTTPS);
    expect(script.queries).toHaveLength(1);
  });
});

describe("RFC 8914: a query that a rule refuses is told why", () => {
  const refusal = async (asked: Uint8Array, rule = "default deny"): Promise<Uint8Array> => {
    const rules = rule.startsWith("default") ? [rule] : [rule, "default allow"];
    const script = new PacketScript({ rules });
    script.send({ ip: { dst: "10.0.2.3" }, udp: { srcPort: 5000, dstPort: 53 }, payload: asked });
    await Promise.resolve();
    await Promise.resolve();
    script.host.run();
    return script.takeAll().find(({ udp }) => udp?.dstPort === 5000)!.payload;
  };
  it("as Extended DNS Error 15, Blocked, with the rule", async () => {
    const found = await refusal(query("evil.test", DNS_A, 7, 1232), "deny *.test");
    expect(dnsRcode(found, 0)).toBe(DNS_REFUSED);
    const text = "refused by deny *.test";
    expect(Buffer.from(found.subarray(-text.length)).toString()).toBe(text);
    // The option's code, length and info-code, and the record's length before it.
    const at = found.length - text.length - 6;
    expect([-2, 0, 2, 4].map((i) => get16(found, at + i))).toEqual([text.length + 6, 15, text.length + 2, 15]);
  });
  it("without EDNS by REFUSED alone", async () => {
    const asked = query("evil.test", DNS_A);
    expect(await refusal(asked)).toEqual(dnsReply(asked, 0, asked.length, DNS_REFUSED));
  });
  it("within 512 bytes, whatever the name and the rule", async () => {
    const long = `${"a".repeat(63)}.${"b".repeat(63)}.${"c".repeat(63)}.${"d".repeat(50)}.test`;
    const rule = `deny ${long}`;
    expect((await refusal(query(long, DNS_A, 7, 512), rule)).length).toBeLessThanOrEqual(512);
  });
});

describe("other ways to a name server, and QUIC, at an address that an allowed name has led to", () => {
  const RST = "tcp RST ACK";
  const PROHIBITED = "icmp 3/13";
  test.each<[string, string, "tcp" | "udp", number, string | null]>([
    ["*.good.test", "QUIC", "udp", 443, PROHIBITED],
    ["*.good.test:443", "QUIC", "udp", 443, PROHIBITED],
    ["*.good.test quic=allow", "QUIC", "udp", 443, null],
    ["*.good.test", "DNS over TLS", "tcp", 853, RST],
    ["*.good.test", "DNS over QUIC", "udp", 853, PROHIBITED],
    ["*.good.test", "DNS", "udp", 53, PROHIBITED],
    ["*.good.test", "DNS over TCP", "tcp", 53, RST],
    ["tcp *.good.test:853", "DNS over TLS", "tcp", 853, null],
    ["*.good.test", "TLS", "tcp", 443, null],
    ["*.good.test", "something else over UDP", "udp", 5000, null],
  ])("with allow %s: %s (%s %i): %s", async (rule, _, proto, dstPort, told) => {
    const script = new PacketScript({ rules: [`allow ${rule}`, "default deny"] });
    await ask(script, "www.good.test", DNS_A);
    // 192.0.2.x is for documentation and as public as any.
    script.queries[0]!.answer(answer(query("www.good.test", DNS_A)));
    script.takeAll();
    const to = { srcPort: 6000, dstPort };
    script.send({ ip: { dst: "192.0.2.1" }, ...(proto === "tcp" ? { tcp: { ...to, flags: "SYN" } } : { udp: to }) });
    for (let i = 0; i < 4; i++) await Promise.resolve();
    script.host.run();
    const [first] = script.takeAll();
    if (told === null) expect(first?.tcp?.flags ?? "SYN ACK").toBe("SYN ACK");
    else expect(first?.tcp ? `tcp ${first.tcp.flags}` : `icmp ${first?.icmp?.type}/${first?.icmp?.code}`).toBe(told);
    const refused = script.events.filter(({ type }) => type === "flow-refused");
    expect(refused).toHaveLength(told === null ? 0 : 1);
    if (told !== null)
      expect(refused).toMatchObject([{ host: "www.good.test", reason: expect.stringContaining(rule) }]);
  });
});

describe("--dns-rebind refuse: a name that leads to a private address", () => {
  const ADDRESSES: [string, number, number[]][] = [
    ["10.1.2.3", DNS_A, [10, 1, 2, 3]],
    ["127.0.0.1", DNS_A, [127, 0, 0, 1]],
    ["fd00::1", DNS_AAAA, [0xfd, ...new Array(14).fill(0), 1]],
    ["::ffff:10.1.2.3", DNS_AAAA, [...new Array(10).fill(0), 0xff, 0xff, 10, 1, 2, 3]],
  ];
  const lookUp = async (dnsRebind: "allow" | "refuse" | undefined, type: number, rdata: number[]) => {
    const script = new PacketScript({ dnsRebind });
    await ask(script, "rebind.test", type);
    const asked = query("rebind.test", type);
    script.queries[0]!.answer(dnsReply(asked, 0, asked.length, DNS_NOERROR, [Uint8Array.from(rdata)], 60));
    return { script, rcode: dnsRcode(script.takeAll()[0]!.payload, 0) };
  };
  test.each(ADDRESSES)("%s is REFUSED", async (_, type, rdata) => {
    const { script, rcode } = await lookUp("refuse", type, rdata);
    expect(rcode).toBe(DNS_REFUSED);
    expect(script.dropped("dns-rebind")).toBe(1);
  });
  test.each(ADDRESSES)("%s passes unless asked for", async (_, type, rdata) =>
    expect((await lookUp(undefined, type, rdata)).rcode).toBe(DNS_NOERROR),
  );
  it("a public one passes", async () =>
    expect((await lookUp("refuse", DNS_A, [192, 0, 2, 1])).rcode).toBe(DNS_NOERROR));
  it.each([
    ["203.0.113.0/24", [203, 0, 113, 2]],
    ["203.0.113.0/24", [203, 0, 113, 77]],
  ])("the guests' own network is private, also where its addresses are public ones: %s %j", async (net, rdata) => {
    const script = new PacketScript({ dnsRebind: "refuse", subnet: net });
    script.send({
      eth: { dst: "52:55:cb:00:71:02" },
      ip: { src: "203.0.113.15", dst: "203.0.113.3" },
      udp: { srcPort: 5000, dstPort: 53 },
      payload: query("x.test", DNS_A),
    });
    await Promise.resolve();
    await Promise.resolve();
    script.host.run();
    const asked = query("x.test", DNS_A);
    script.queries[0]!.answer(dnsReply(asked, 0, asked.length, DNS_NOERROR, [Uint8Array.from(rdata)], 60));
    expect(script.dropped("dns-rebind")).toBe(1);
  });
});

describe("every address is judged by what it leads to", () => {
  const subject = (text: string, inside = false): Subject => ({
    ...{ direction: "out", proto: "tcp", guest: addressFromText("10.0.2.15"), mac: 1 },
    ...{ remote: addressFromText(text), port: 443, names: ["www.good.test"], inside },
  });
  const allows = (rules: string[], text: string, inside = false): boolean =>
    judge(parseRules(rules), subject(text, inside)).allow;
  test.each([
    "192.0.2.7",
    "64:ff9b::192.0.2.7",
    "64:ff9b:1::192.0.2.7",
    "2002:c000:207::1",
    "2001:0:c000:207::1",
    "2001:db8::5efe:c000:207",
  ])("a rule against a network is about %s", (text) =>
    expect(allows(["deny 192.0.2.0/24", "default allow"], text)).toBe(false),
  );
  test.each([
    ["64:ff9b::192.0.2.7", true],
    ["64:ff9b:1::192.0.2.7", false],
    ["2002:c000:207::1", false],
    ["2001:db8::5efe:c000:207", false],
  ])("a rule that allows an address is about those alone that are certain to lead there: %s %j", (text, allowed) =>
    expect(allows(["allow 192.0.2.7", "default deny"], text)).toBe(allowed),
  );
  test.each(["64:ff9b::10.1.2.3", "2002:a01:203::1", "2001:db8::5efe:a01:203", "fd00::1", "64:ff9b:1::1.2.3.4"])(
    "%s is private to a rule about a name",
    (text) => expect(allows(["allow tcp *.good.test:443", "default deny"], text)).toBe(false),
  );
  it("a name that leads into the guests' own network is, whatever addresses that has", () =>
    expect(allows(["allow tcp *.good.test:443", "default deny"], "203.0.113.2", true)).toBe(false));
  test.each([
    ["fe80::2", "fec0::2"],
    ["fec0::2", "fe80::2"],
  ])("the gateway is one, by whichever address: a rule against %s holds for %s", async (named, dialled) => {
    const script = new PacketScript({ rules: [`deny ${named}`, "default allow"] });
    script.send({ ip6: { dst: dialled }, tcp: { srcPort: 4000, dstPort: 80, flags: "SYN", seq: 1 } });
    await Promise.resolve();
    expect(script.host.dialled).toEqual([]);
    expect(script.events.find(({ type }) => type === "flow-refused")).toMatchObject({ rule: `deny ${named}` });
  });
});

test("a rule that names a guest by its cable holds for that cable, or for all of its socket, whatever they call themselves", () => {
  const { allow } = {
    allow: (rule: string, cable: string | null) => {
      const set = parseRules([rule, "default allow"]);
      const guest = addressFromText("10.0.2.99");
      const far = { remote: addressFromText("192.0.2.1"), port: 80, names: [] };
      return judge(set, { direction: "out", proto: "tcp", guest, mac: 7, inside: false, cable, ...far }).allow;
    },
  };
  expect(allow("deny guest cable:unix:/run/a.sock", "unix:/run/a.sock#3")).toBe(false);
  expect(allow("deny guest cable:unix:/run/a.sock", "unix:/run/b.sock#3")).toBe(true);
  expect(allow("deny guest cable:memory#2", "memory#2")).toBe(false);
  expect(allow("deny guest cable:memory#2", "memory#21")).toBe(true);
  expect(allow("deny guest cable:memory", null)).toBe(true);
});

test("a guest that ends its cable and comes again goes on with the limits that it has used", () => {
  const meters = new Meters();
  const limit = { text: "conns=1", up: null, down: null, conns: 1, opens: null, queries: null };
  const cable = (n: number) => ({ name: `unix:/run/a.sock#${n}` }) as Link;
  const [one, two] = [cable(1), cable(2)];
  meters.of(one, limit, 0).enter();
  meters.detached(one);
  expect(meters.of(two, limit, 0).full(0)).toBe("1 at once");
  expect(meters.of(cable(3), limit, 0).full(0)).toBeNull();
});
