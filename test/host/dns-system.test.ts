import { describe, expect, test } from "vitest";
import { NodeDns } from "../../src/host/dns.ts";
import type { NameService } from "../../src/host/dns-system.ts";
import { SystemResolver } from "../../src/host/dns-system.ts";
import {
  DNS_A,
  DNS_AAAA,
  DNS_NOTIMP,
  DNS_NXDOMAIN,
  DNS_PTR,
  dnsQuestionEnd,
  dnsRcode,
  dnsReadName,
} from "../../src/wire/dns.ts";
import { query } from "../support/dns.ts";

const MX = 15;

class FakeNames implements NameService {
  readonly asked: string[] = [];
  code: string | null = null;
  found = [
    { address: "192.0.2.7", family: 4 },
    { address: "2001:db8::7", family: 6 },
    { address: "fe80::1%eth0", family: 6 },
    { address: "192.0.2.8", family: 4 },
  ];
  hostname = "host.example.com";
  lookup: NameService["lookup"] = (name, _, done) => {
    this.asked.push(name);
    setImmediate(() => (this.code === null ? done(null, this.found) : done(this.#error(), [])));
  };
  lookupService: NameService["lookupService"] = (address, _, done) => {
    this.asked.push(address);
    setImmediate(() => (this.code === null ? done(null, this.hostname) : done(this.#error(), "")));
  };
  #error(): NodeJS.ErrnoException {
    return Object.assign(new Error("names"), { code: this.code! });
  }
}

function ask(names: NameService, q: Uint8Array): Promise<Uint8Array | null> {
  return new Promise((done) => new SystemResolver(names).ask(q, done));
}

/** The records' data, each of `length` bytes. */
function rdata(message: Uint8Array, length: number): string[] {
  const out: string[] = [];
  for (let at = dnsQuestionEnd(message, 0) + 12; at < message.length; at += 12 + length) {
    out.push([...message.subarray(at, at + length)].join("."));
  }
  expect(out).toHaveLength(message[7]!);
  return out;
}

describe("the system's name service", () => {
  test("A and AAAA get the addresses of their family", async () => {
    const names = new FakeNames();
    expect(rdata((await ask(names, query("Host.test", DNS_A)))!, 4)).toEqual(["192.0.2.7", "192.0.2.8"]);
    expect(rdata((await ask(names, query("Host.test", DNS_AAAA)))!, 16)).toEqual([
      "32.1.13.184.0.0.0.0.0.0.0.0.0.0.0.7",
      "254.128.0.0.0.0.0.0.0.0.0.0.0.0.0.1",
    ]);
    expect(names.asked).toEqual(["Host.test", "Host.test"]);
  });

  test("a name without addresses of the family exists all the same", async () => {
    const names = new FakeNames();
    names.found = [{ address: "192.0.2.7", family: 4 }];
    const a = await ask(names, query("four.test", DNS_AAAA));
    expect([dnsRcode(a!, 0), a![7]]).toEqual([0, 0]);
  });

  test.each([
    ["7.2.0.192.in-addr.arpa", "192.0.2.7"],
    [`7${".0".repeat(23)}.8.b.d.0.1.0.0.2.IP6.ARPA`, "2001:0db8:0000:0000:0000:0000:0000:0007"],
  ])("PTR of %s asks for the address's name", async (name, address) => {
    const names = new FakeNames();
    const a = await ask(names, query(name, DNS_PTR));
    expect(names.asked).toEqual([address]);
    expect(dnsReadName(a!, 0, dnsQuestionEnd(a!, 0) + 12, a!.length)).toBe("host.example.com");
    names.hostname = "192.0.2.7";
    expect(dnsRcode((await ask(names, query(name, DNS_PTR)))!, 0)).toBe(DNS_NXDOMAIN);
  });

  test("an unknown name is NXDOMAIN, a failing service no answer", async () => {
    const names = new FakeNames();
    names.code = "ENOTFOUND";
    expect(dnsRcode((await ask(names, query("none.test", DNS_A)))!, 0)).toBe(DNS_NXDOMAIN);
    names.code = "EAI_AGAIN";
    expect(await ask(names, query("none.test", DNS_A))).toBeNull();
    expect(await ask(names, query("1.2.0.192.in-addr.arpa", DNS_PTR))).toBeNull();
  });

  test("other types have no data, other classes are not implemented, and nobody is asked", async () => {
    const names = new FakeNames();
    for (const q of [query("a.test", MX), query(".", DNS_A), query("999.1.1.1.in-addr.arpa", DNS_PTR)]) {
      const a = await ask(names, q);
      expect([dnsRcode(a!, 0), a![7]]).toEqual([0, 0]);
    }
    const chaos = query("version.bind", 16);
    chaos[chaos.length - 1] = 3;
    expect(dnsRcode((await ask(names, chaos))!, 0)).toBe(DNS_NOTIMP);
    const odd = query("abc", DNS_A);
    odd[13] = 0;
    expect(dnsRcode((await ask(names, odd))!, 0)).toBe(DNS_NXDOMAIN);
    expect(names.asked).toEqual([]);
  });

  test("no more than 32 calls are under way", async () => {
    const names = new FakeNames();
    const system = new SystemResolver(names);
    const answers = Array.from(
      { length: 40 },
      () => new Promise<Uint8Array | null>((done) => system.ask(query("a.test", DNS_A), done)),
    );
    expect((await Promise.all(answers)).filter((a) => a === null)).toHaveLength(8);
    expect(names.asked).toHaveLength(32);
  });
});

test("serves where the host names no resolver, and gives up in time", async () => {
  const names = new FakeNames();
  const dns = new NodeDns({ resolvConf: "/nonexistent/resolv.conf", names, totalMs: 50 });
  const answer = (q: Uint8Array): Promise<Uint8Array | null> => new Promise((done) => dns.query(q, false, done));
  expect(dns.servers()).toEqual([]);
  expect(rdata((await answer(query("host.test", DNS_A)))!, 4)).toEqual(["192.0.2.7", "192.0.2.8"]);
  names.lookup = () => {};
  expect(await answer(query("host.test", DNS_A))).toBeNull();
  dns.close();
});

test("the host knows itself", async () => {
  const dns = new NodeDns({ resolvConf: "/nonexistent/resolv.conf" });
  const a = await new Promise<Uint8Array | null>((done) => dns.query(query("localhost", DNS_A), false, done));
  expect(rdata(a!, 4)).toContain("127.0.0.1");
  dns.close();
});
