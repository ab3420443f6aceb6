/** Names and zones that the user has given, on a network that runs: before anybody is asked, and judged like others. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { resolveName } from "../../src/cli/guest/dns.ts";
import { endpointText } from "../../src/core/address.ts";
import { createNetwork, type Network, type NetworkOptions } from "../../src/index.ts";
import {
  DNS_A,
  DNS_AAAA,
  DNS_PTR,
  DNS_REFUSED,
  dnsAnswers,
  dnsQname,
  dnsRcode,
  dnsReadName,
  dnsReply,
} from "../../src/wire/dns.ts";
import { ipv4ToString } from "../../src/wire/ipv4.ts";
import { ipv6ToString } from "../../src/wire/ipv6.ts";
import { answer, query } from "../support/dns.ts";
import { type Behaviour, UdpServer } from "../support/dns-server.ts";
import { type EmbeddedGuest, embeddedGuest } from "../support/embedded-guest.ts";

let network: Network;
let guest: EmbeddedGuest;
let servers: UdpServer[];

beforeEach(() => {
  servers = [];
});
afterEach(async () => {
  guest.stop();
  await network.close();
  for (const server of servers) await server.close();
});

/** A server that answers with its own address, and what a zone's rule says of it. */
async function server(last: number, behaviour?: Behaviour): Promise<{ at: string; server: UdpServer }> {
  const address = Uint8Array.of(10, 9, 9, last);
  const opened = await UdpServer.open(behaviour ?? ((q) => [dnsReply(q, 0, q.length, 0, [address], 60)]));
  servers.push(opened);
  return { at: endpointText(opened.endpoint), server: opened };
}

async function begin(options: NetworkOptions): Promise<void> {
  network = await createNetwork(options);
  // Where nothing leaves, DHCP names no DNS server: this guest knows it all the same.
  const address = { ip: "10.0.2.15", prefix: 24, gateway: null, dns: "10.0.2.3" };
  guest = await embeddedGuest(network, 1, "one", options.restrict === true ? address : undefined);
}

const lookUp = async (name: string): Promise<string> => ipv4ToString(await resolveName(guest.guest, name));

/** The answer's records of the type asked for, in words. */
function ask(name: string, type: number): Promise<string[]> {
  const socket = guest.guest.udp();
  return new Promise((resolve) => {
    socket.onDatagram = (bytes) => {
      const found: string[] = dnsRcode(bytes, 0) === DNS_REFUSED ? ["REFUSED"] : [];
      dnsAnswers(bytes, 0, bytes.length, (_name, _type, _class, _ttl, at, len) => {
        found.push(
          type === DNS_PTR
            ? dnsReadName(bytes, 0, at, bytes.length)!
            : len === 16
              ? ipv6ToString(bytes, at)
              : bytes.slice(at, at + len).join("."),
        );
      });
      socket.close();
      resolve(found);
    };
    socket.send(query(name, type), guest.guest.dns, 53);
  });
}

describe("a host that the user has named", () => {
  it("has its addresses of both families, and they its name", async () => {
    const dnsHosts = ["Db.corp.test=10.1.2.3", "db.corp.test=10.1.2.4", "db.corp.test=2001:db8::7", "me.test=gateway"];
    await begin({ dnsHosts, dnsUpstream: ["127.0.0.1:9"] });
    expect(await ask("dB.Corp.test", DNS_A)).toEqual(["10.1.2.3", "10.1.2.4"]);
    expect(await ask("db.corp.test", DNS_AAAA)).toEqual(["2001:db8::7"]);
    expect(await ask("me.test", DNS_A)).toEqual(["10.0.2.2"]);
    expect(await ask("me.test", DNS_AAAA)).toEqual(["fec0::2"]);
    expect(await ask("3.2.1.10.in-addr.arpa", DNS_PTR)).toEqual(["db.corp.test"]);
    expect(await ask("2.2.0.10.in-addr.arpa", DNS_PTR)).toEqual(["me.test"]);
    // It exists, and has no record of that type.
    expect(await ask("db.corp.test", 15)).toEqual([]);
  });

  it("goes before guests' names, resolvers and zones, and only for the name itself", async () => {
    const { at } = await server(1);
    await begin({
      dnsHosts: ["one.internal=10.1.2.3", "a.test=10.1.2.4"],
      dnsZones: [`test=${at}`],
      dnsUpstream: [at],
    });
    expect(await lookUp("one.internal")).toBe("10.1.2.3");
    expect(await lookUp("a.test")).toBe("10.1.2.4");
    expect(await lookUp("b.a.test")).toBe("10.9.9.1");
  });

  it("is judged by rules about its name, which then hold for its address", async () => {
    const dnsHosts = ["good.test=10.1.2.3", "bad.test=10.1.2.4"];
    await begin({
      dnsHosts,
      rules: ["allow *.test:443", "deny bad.test", "default deny"],
      dnsUpstream: ["127.0.0.1:9"],
    });
    expect(await lookUp("good.test")).toBe("10.1.2.3");
    await expect(lookUp("other.example")).rejects.toThrow("REFUSED");
    network.setRules(["deny bad.test", "allow *.test:443", "default deny"]);
    await expect(lookUp("bad.test")).rejects.toThrow("REFUSED");
    expect(await ask("3.2.1.10.in-addr.arpa", DNS_PTR)).toEqual(["REFUSED"]);
  });

  it("is there where nothing leaves, and can be changed while it runs", async () => {
    await begin({ restrict: true, dnsHosts: ["a.test=10.1.2.3"] });
    expect(await lookUp("a.test")).toBe("10.1.2.3");
    network.setDnsHosts(["b.test=10.1.2.4"]);
    expect(network.dnsHosts()).toEqual(["b.test=10.1.2.4"]);
    expect(await lookUp("b.test")).toBe("10.1.2.4");
    await expect(lookUp("a.test")).rejects.toThrow("REFUSED");
    expect(() => network.setDnsHosts(["b.test"])).toThrow("NAME=IP");
    expect(await lookUp("b.test")).toBe("10.1.2.4");
  });
});

describe("a zone that the user has given", () => {
  it("is asked of its server, the longest that fits, and all else of the host's", async () => {
    const [world, corp, lab] = [await server(1), await server(2), await server(3)];
    await begin({
      dnsUpstream: [world.at],
      dnsZones: [
        `corp.test=${corp.at}`,
        `lab.corp.test=${lab.at}`,
        `9.10.in-addr.arpa=${lab.at}`,
        `internal=${corp.at}`,
      ],
    });
    expect(await lookUp("a.CORP.test")).toBe("10.9.9.2");
    expect(await lookUp("corp.test")).toBe("10.9.9.2");
    expect(await lookUp("b.lab.corp.test")).toBe("10.9.9.3");
    expect(await lookUp("notcorp.test")).toBe("10.9.9.1");
    expect(await lookUp("db.internal")).toBe("10.9.9.2");
    expect(await lookUp("one.internal")).toBe("10.0.2.15");
    await ask("1.9.9.10.in-addr.arpa", DNS_PTR);
    expect(lab.server.seen).toHaveLength(2);
  });

  it("has several servers, the next when one fails; the host's never learn of it", async () => {
    const world = await server(1);
    const broken = await server(2, (q) => [answer(q, 2, 0)]);
    const good = await server(3);
    await begin({ dnsUpstream: [world.at], dnsZones: [`corp.test=${broken.at}`, `corp.test=${good.at}`] });
    expect(await lookUp("a.corp.test")).toBe("10.9.9.3");
    expect(broken.server.seen).toHaveLength(1);
    network.setDnsZones([`corp.test=${broken.at}`]);
    await expect(lookUp("b.corp.test")).rejects.toThrow("SERVFAIL");
    expect(world.server.seen).toEqual([]);
  });

  it("may lead inside where the world's names may not, is judged by rules, and is no way out where there is none", async () => {
    const [world, corp] = [await server(1), await server(2)];
    const zones = { dnsUpstream: [world.at], dnsZones: [`corp.test=${corp.at}`] };
    await begin({ ...zones, dnsRebind: "refuse", rules: ["deny secret.corp.test", "default allow"] });
    expect(await lookUp("a.corp.test")).toBe("10.9.9.2");
    await expect(lookUp("a.test")).rejects.toThrow("REFUSED");
    await expect(lookUp("secret.corp.test")).rejects.toThrow("REFUSED");
    guest.stop();
    await network.close();
    await begin({ ...zones, restrict: true });
    await expect(lookUp("a.corp.test")).rejects.toThrow("REFUSED");
    expect(corp.server.seen).toHaveLength(1);
  });
});

it("a name below .internal that no guest has is the resolver's to know", async () => {
  const { at } = await server(1);
  await begin({ dnsUpstream: [at], domainname: "lan" });
  for (const name of ["db.internal", "metadata.google.internal", "db.lan", "db.home.arpa"])
    expect(await lookUp(name)).toBe("10.9.9.1");
  expect(await lookUp("one.internal")).toBe("10.0.2.15");
  expect(await lookUp("one.lan")).toBe("10.0.2.15");
});

describe("below a domain that the world may have, too,", () => {
  it("a guest is not found in place of what the host's resolvers know", async () => {
    const { at } = await server(1, (q) => [
      dnsQname(q, 0).toLowerCase() === "one.corp.test"
        ? dnsReply(q, 0, q.length, 0, [Uint8Array.of(10, 9, 9, 1)], 60)
        : dnsReply(q, 0, q.length, 3),
    ]);
    await begin({ dnsUpstream: [at], domainname: "corp.test" });
    expect(await lookUp("one.corp.test")).toBe("10.9.9.1");
    expect(await lookUp("one.internal")).toBe("10.0.2.15");
  });

  it("a guest is found where nobody else has the name, and where nobody may be asked", async () => {
    const { at, server: upstream } = await server(1, (q) => [dnsReply(q, 0, q.length, 3)]);
    await begin({ dnsUpstream: [at], domainname: "corp.test" });
    expect(await lookUp("one.corp.test")).toBe("10.0.2.15");
    guest.stop();
    await network.close();
    const asked = upstream.seen.length;
    await begin({ dnsUpstream: [at], domainname: "corp.test", rules: ["allow tcp 192.0.2.1:80", "default deny"] });
    expect(await lookUp("one.corp.test")).toBe("10.0.2.15");
    expect(upstream.seen).toHaveLength(asked);
  });
});
