/** Guests by name: forward, reverse, in both families, and who has a name that several want. */
import { describe, expect, it } from "vitest";
import { resolveOptions } from "../../src/control/options.ts";
import { addressFromText } from "../../src/core/address.ts";
import type { Link } from "../../src/core/link.ts";
import { Policy } from "../../src/nat/rules/policy.ts";
import type { Lease } from "../../src/proto/dhcp.ts";
import { Neighbours } from "../../src/proto/neighbours.ts";
import { GuestNames } from "../../src/stack/guest-names.ts";
import { DNS_A, DNS_AAAA, DNS_PTR, dnsEncodeName } from "../../src/wire/dns.ts";
import { ipv6FromText } from "../../src/wire/ipv6.ts";

const WEB = "52:54:00:00:00:01";
const OTHER = "52:54:00:00:00:02";
const HTTPS = 65;
const A = [10, 0, 2, 15];

function lan(...leases: [ip: string, mac: string, hostname: string | null][]) {
  const list: Lease[] = leases.map(([ip, mac, hostname]) => ({ ip, mac, hostname, expires: 1e9 }));
  const { stack } = resolveOptions({ domainname: "lan.test" });
  const neighbours = new Neighbours(1, 2);
  const names = new GuestNames(stack, new Policy(stack), neighbours, () => list);
  const ask = (name: string, type: number) => {
    const found = names.answer(name, type);
    return found === null ? null : found.known ? found.rdata.map((data) => [...data]) : "no such name";
  };
  const learn = (ip: string, mac: string): void => {
    const bytes = Uint8Array.from(mac.split(":"), (byte) => Number.parseInt(byte, 16));
    neighbours.learn(addressFromText(ip), bytes, 0, {} as Link);
  };
  return { list, names, ask, learn };
}

describe("a guest that calls itself web", () => {
  it.each(["web.internal", "web", "web.lan.test", "WEB.Internal"])("is found as %s", (name) => {
    expect(lan(["10.0.2.15", WEB, "web"]).ask(name, DNS_A)).toEqual([A]);
  });
  it("has the IPv6 addresses that its card uses or has leased, but no link-local one", () => {
    const { ask, learn } = lan(["10.0.2.15", WEB, "web"], ["fec0::15", WEB, null]);
    for (const ip of ["fe80::1234", "fec0::5054:ff:fe00:1", "fec0::15"]) learn(ip, WEB);
    learn("fec0::77", OTHER);
    expect(ask("web.internal", DNS_AAAA)).toEqual([
      [...ipv6FromText("fec0::15")],
      [...ipv6FromText("fec0::5054:ff:fe00:1")],
    ]);
  });
  it("has a name without records of other types, so that nobody else is asked", () => {
    expect(lan(["10.0.2.15", WEB, "web"]).ask("web.internal", HTTPS)).toEqual([]);
  });
  it("is found by its addresses", () => {
    const { ask, learn } = lan(["10.0.2.15", WEB, "web"]);
    learn("fec0::1:2", WEB);
    const name = [...dnsEncodeName("web.internal")!];
    expect(ask("15.2.0.10.in-addr.arpa", DNS_PTR)).toEqual([name]);
    const reversed = "2.0.0.0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.c.e.f.ip6.arpa";
    expect(ask(reversed, DNS_PTR)).toEqual([name]);
  });
});

describe("what nobody is called", () => {
  it.each(["16.2.0.10.in-addr.arpa"])("%s does not exist", (name) => {
    expect(lan(["10.0.2.15", WEB, "web"]).ask(name, DNS_A)).toBe("no such name");
  });
  it.each([
    "internal",
    "db.internal",
    "metadata.google.internal",
    "db",
    "db.lan.test",
    "1.2.168.192.in-addr.arpa",
    "300.2.0.10.in-addr.arpa",
  ])("%s is for the host's resolvers", (name) => expect(lan(["10.0.2.15", WEB, "web"]).ask(name, DNS_A)).toBeNull());
});

describe("a name that several guests want", () => {
  it("is the first one's, wherever its lease stands in the list", () => {
    const { list, names, ask } = lan(["10.0.2.15", OTHER, "other"], ["10.0.2.16", WEB, "web"]);
    names.claim("web");
    list[0] = { ...list[0]!, hostname: "web" };
    names.claim("web");
    expect(ask("web.internal", DNS_A)).toEqual([[10, 0, 2, 16]]);
    expect(ask("15.2.0.10.in-addr.arpa", DNS_PTR)).toBe("no such name");
  });
  it("is another's when that has gone", () => {
    const { list, names, ask } = lan(["10.0.2.15", OTHER, "web"]);
    names.claim("web");
    list[0] = { ip: "10.0.2.16", mac: WEB, hostname: "web", expires: 1e9 };
    expect(ask("web.internal", DNS_A)).toEqual([[10, 0, 2, 16]]);
  });
});
