import { networkInterfaces } from "node:os";
import { afterEach, describe, expect, test, vi } from "vitest";
import type { Endpoint } from "../../src/core/address.ts";
import { NodeDns, type NodeDnsOptions } from "../../src/host/dns.ts";
import {
  DNS_A,
  DNS_AAAA,
  DNS_FORMERR,
  DNS_NXDOMAIN,
  DNS_REFUSED,
  DNS_SERVFAIL,
  dnsId,
  dnsQname,
  dnsQuestionEnd,
  dnsRcode,
  dnsSetId,
  dnsTruncate,
  dnsTruncated,
} from "../../src/wire/dns.ts";
import { proves } from "../cases/proves.ts";
import { answer, query } from "../support/dns.ts";
import { type Behaviour, reply, TcpServer, UdpServer } from "../support/dns-server.ts";

const cleanup: (() => unknown)[] = [];
afterEach(async () => {
  vi.useRealTimers();
  for (const one of cleanup.splice(0).reverse()) await one();
});

async function server(behaviour: Behaviour, host?: string): Promise<UdpServer> {
  const s = await UdpServer.open(behaviour, host);
  cleanup.push(() => s.close());
  return s;
}

async function tcpServer(...args: Parameters<typeof TcpServer.open>): Promise<TcpServer> {
  const s = await TcpServer.open(...args);
  cleanup.push(() => s.close());
  return s;
}

function resolver(upstreams: Endpoint[], options: NodeDnsOptions = {}): NodeDns {
  const dns = new NodeDns({ upstreams, ...options });
  cleanup.push(() => dns.close());
  return dns;
}

function ask(dns: NodeDns, q: Uint8Array, tcp = false): Promise<Uint8Array | null> {
  return new Promise((done) => dns.query(q, tcp, done));
}

/** A loopback endpoint that nobody listens on. */
async function deadEndpoint(): Promise<Endpoint> {
  const s = await UdpServer.open(() => []);
  const { endpoint } = s;
  await s.close();
  return endpoint;
}

/** What the resolver knows of time; the event loop goes on as ever. */
const OUR_TIME: Parameters<typeof vi.useFakeTimers>[0] = { toFake: ["setTimeout", "clearTimeout", "performance"] };

/** Waits, turn by turn of the event loop and without a timer of its own. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((done) => setImmediate(done));
}

/** How many descriptors are watched for the C library's calls (`host/readable`). */
function pipes(): number {
  return process.getActiveResourcesInfo().filter((x) => x === "PipeWrap").length;
}

/** An answer with the name's letters all in the other case. */
function changed(a: Uint8Array): Uint8Array {
  for (let i = 12; i < dnsQuestionEnd(a, 0) - 4; i++) if ((a[i]! | 0x20) >= 97 && (a[i]! | 0x20) <= 122) a[i]! ^= 0x20;
  return a;
}

const good: Behaviour = (q) => [answer(q)];
const silent: Behaviour = () => [];

describe("one server", () => {
  test(
    proves("dns.case", "the ID and the question's letters come back as they were, the rest as the server sent it"),
    async () => {
      const s = await server((q) => {
        const a = answer(q);
        for (let i = 12; i < dnsQuestionEnd(a, 0) - 4; i++) if (a[i]! >= 0x41 && a[i]! <= 0x5a) a[i]! |= 0x20;
        return [a];
      });
      const q = query("WwW.eXaMPlE.Test", DNS_A, 0xbeef, 1232);
      const a = await ask(resolver([s.endpoint]), q);
      expect(a).toEqual(answer(q));
    },
  );

  test.each([64, 65, 257, 65_280])("record type %i is carried like any other", async (type) => {
    const s = await server(good);
    const q = query("svc.test", type, 3);
    expect(await ask(resolver([s.endpoint]), q)).toEqual(answer(q));
  });

  test(
    proves("bad.dns.forged", "IDs and ports upstream are fresh: they are not the guest's and do not repeat"),
    async () => {
      const s = await server(good);
      const dns = resolver([s.endpoint]);
      await Promise.all(Array.from({ length: 200 }, (_, i) => ask(dns, query(`n${i}.test`, DNS_A, 7))));
      const ids = new Set(s.seen.map((x) => dnsId(x.query, 0)));
      const ports = [...new Set(s.seen.map((x) => x.from.port))];
      expect(ids.size).toBeGreaterThan(190);
      expect(ports.length).toBeGreaterThan(40);
      expect(ports.length).toBeLessThanOrEqual(64);
      const steps = new Set(ports.slice(1).map((p, i) => p - ports[i]!));
      expect(steps.size).toBeGreaterThan(30);
    },
  );

  test("what hundreds ask at once is asked once, and each has the answer under its own ID and letters", async () => {
    const s = await server(good);
    const dns = resolver([s.endpoint]);
    const queries = Array.from({ length: 384 }, (_, i) => query(i % 2 === 0 ? "Same.test" : "same.TEST", DNS_A, i));
    const answers = await Promise.all(queries.map((q) => ask(dns, q)));
    expect(s.seen).toHaveLength(1);
    expect(answers).toEqual(queries.map((q) => answer(q)));
    await ask(dns, query("same.test", DNS_A));
    expect(s.seen).toHaveLength(2);
  });

  test("queries that differ in type, flags or options are not the same, and few of one question are under way", async () => {
    const s = await server(silent);
    const dns = resolver([s.endpoint]);
    void ask(dns, query("same.test", DNS_A));
    void ask(dns, query("same.test", DNS_AAAA));
    void ask(dns, query("same.test", DNS_A, 1, 1232));
    await until(() => s.seen.length === 3);
    const more = Array.from({ length: 100 }, (_, i) => ask(dns, query("same.test", DNS_A, 2, 600 + i)));
    expect((await Promise.all(more.slice(6))).every((each) => each === null)).toBe(true);
    await until(() => s.seen.length === 9);
  });

  test("0x20: the name goes out in letters drawn at random, and an answer in others is none", async () => {
    const s = await server(good);
    const dns = resolver([s.endpoint]);
    const name = "a-long-name-of-many-letters.example.test";
    for (let i = 0; i < 8; i++) expect(dnsQname((await ask(dns, query(name, DNS_A)))!, 0)).toBe(name);
    const sent = s.seen.map((each) => dnsQname(each.query, 0));
    expect(new Set(sent).size).toBe(8);
    for (const each of sent) expect(each.toLowerCase()).toBe(name);
    s.behaviour = (q) => [changed(answer(q)), answer(q)];
    expect(await ask(dns, query(name, DNS_A))).not.toBeNull();
    expect(dns.counters.ignored).toBe(1);
  });

  test("0x20: a server that does not keep them is asked plainly, again and from then on", async () => {
    const s = await server((q) => [changed(answer(q))]);
    const dns = resolver([s.endpoint]);
    expect(await ask(dns, query("www.example.test", DNS_A))).toEqual(answer(query("www.example.test", DNS_A)));
    expect(s.seen.map((each) => dnsQname(each.query, 0)).at(-1)).toBe("www.example.test");
    expect(s.seen).toHaveLength(2);
    const other = query("OtheR.Example.test", DNS_A);
    expect(await ask(dns, other)).toEqual(answer(other));
    expect(dnsQname(s.seen[2]!.query, 0)).toBe("other.example.test");
    expect(s.seen).toHaveLength(3);
  });

  test("0x20: one that kept them and does so no more is believed after three times", async () => {
    const s = await server(good);
    const dns = resolver([s.endpoint]);
    await ask(dns, query("www.example.test", DNS_A));
    s.behaviour = (q) => [changed(answer(q)), changed(answer(q)), changed(answer(q))];
    expect(await ask(dns, query("www.example.test", DNS_A))).not.toBeNull();
  });

  test("NXDOMAIN is passed on", async () => {
    const s = await server((q) => [answer(q, DNS_NXDOMAIN, 0)]);
    const a = await ask(resolver([s.endpoint]), query("none.test", DNS_A));
    expect(dnsRcode(a!, 0)).toBe(DNS_NXDOMAIN);
  });

  test("SERVFAIL of the only server is passed on at once", async () => {
    const s = await server((q) => [answer(q, DNS_SERVFAIL, 0)]);
    const a = await ask(resolver([s.endpoint]), query("bad.test", DNS_A));
    expect(dnsRcode(a!, 0)).toBe(DNS_SERVFAIL);
    expect(s.seen).toHaveLength(1);
  });

  test(proves("dns.tc", "a truncated answer goes to the guest, who asks again over TCP"), async () => {
    const s = await server((q) => [dnsTruncate(answer(q), 0, answer(q).length)]);
    const a = await ask(resolver([s.endpoint]), query("big.test", DNS_A));
    expect(dnsTruncated(a!, 0)).toBe(true);
  });

  test("an error with a header alone is the answer, with the question put back", async () => {
    const s = await server((q) => {
      const a = answer(q, DNS_FORMERR, 0).slice(0, 12);
      a[5] = 0;
      return [a];
    });
    const a = await ask(resolver([s.endpoint]), query("Edns.test", DNS_A, 21, 4096));
    expect([dnsRcode(a!, 0), dnsId(a!, 0), dnsQname(a!, 0)]).toEqual([DNS_FORMERR, 21, "Edns.test"]);
  });

  test(
    proves(
      "bad.dns.forged",
      "wrong IDs, wrong questions, queries and garbage are ignored and counted; the true answer still counts",
    ),
    async () => {
      let forgeries = 0;
      const s = await server((q) => {
        const wrongId = answer(q, 0, 2);
        dnsSetId(wrongId, 0, dnsId(q, 0) ^ 1);
        const wrongName = answer(query("evil.test", DNS_A, dnsId(q, 0)), 0, 2);
        const wrongType = answer(query("true.test", DNS_AAAA, dnsId(q, 0)), 0, 2);
        const bare = answer(q).slice(0, 12);
        bare[5] = 0;
        const forged = [wrongId, wrongName, wrongType, q, bare, new Uint8Array(0), new Uint8Array(500).fill(0xc0)];
        forgeries = forged.length;
        return [...forged, answer(q), answer(q)];
      });
      const dns = resolver([s.endpoint]);
      const q = query("true.test", DNS_A, 1);
      expect(await ask(dns, q)).toEqual(answer(q));
      // The second true answer comes too late.
      await until(() => dns.counters.ignored === forgeries + 1);
    },
  );

  test(
    proves(
      "bad.dns.forged",
      "an answer from another address or port than the server's is ignored, however right it looks",
    ),
    async () => {
      const s = await server(silent);
      const forger = await server(silent);
      const dns = resolver([s.endpoint]);
      const q = query("true.test", DNS_A, 1);
      const found = ask(dns, q);
      await s.next();
      const { query: sent, from } = s.seen[0]!;
      await forger.send(answer(sent, DNS_NXDOMAIN, 0), from);
      await s.send(answer(sent), from);
      expect(await found).toEqual(answer(q));
    },
  );

  test("IPv6 servers are asked", async () => {
    const s = await server(good, "::1");
    const q = query("six.test", DNS_A);
    expect(await ask(resolver([s.endpoint]), q)).toEqual(answer(q));
    expect(await ask(resolver([{ host: "0:0:0:0:0:0:0:1", port: s.endpoint.port }]), q)).toEqual(answer(q));
  });
});

test("a link-local server is reached by its scope id, over UDP and TCP", async (context) => {
  const found = Object.entries(networkInterfaces()).flatMap(([name, all]) =>
    (all ?? []).filter((a) => a.address.startsWith("fe80:")).map((a) => `${a.address}%${name}`),
  )[0];
  if (found === undefined) return context.skip("no link-local address here");
  const s = await server(good, found);
  const q = query("link.test", DNS_A);
  expect(await ask(resolver([{ host: found, port: s.endpoint.port }]), q)).toEqual(answer(q));
  const t = await tcpServer((m, socket) => reply(socket, answer(m)), found);
  expect(await ask(resolver([{ host: found, port: t.endpoint.port }]), q, true)).toEqual(answer(q));
});

describe("several servers", () => {
  test("a refusal leads to the next at once", async () => {
    const dead = await deadEndpoint();
    const s = await server(good);
    const dns = resolver([dead, s.endpoint], { firstMs: 60_000, totalMs: 120_000 });
    const q = query("next.test", DNS_A);
    expect(await ask(dns, q)).toEqual(answer(q));
    expect(dns.counters).toEqual({ ignored: 0, silent: 0, failed: 1 });
  });

  test("when all refuse there is null at once", async () => {
    const dns = resolver([await deadEndpoint(), await deadEndpoint()], { firstMs: 60_000, totalMs: 120_000 });
    expect(await ask(dns, query("none.test", DNS_A))).toBeNull();
  });

  test.each([DNS_SERVFAIL, DNS_REFUSED])("after rcode %i the next is asked, and its word counts", async (rcode) => {
    const first = await server((q) => [answer(q, rcode, 0)]);
    const second = await server(good);
    const q = query("split.test", DNS_A);
    expect(await ask(resolver([first.endpoint, second.endpoint]), q)).toEqual(answer(q));
    const bad = await deadEndpoint();
    const a = await ask(resolver([first.endpoint, bad]), q);
    expect(dnsRcode(a!, 0)).toBe(rcode);
  });

  test("a failing answer is passed on when the others stay silent for one round", async () => {
    const first = await server((q) => [answer(q, DNS_SERVFAIL, 0)]);
    const second = await server(silent);
    const dns = resolver([first.endpoint, second.endpoint], { firstMs: 20, againMs: 60_000, totalMs: 120_000 });
    const a = await ask(dns, query("bad.test", DNS_A));
    expect(dnsRcode(a!, 0)).toBe(DNS_SERVFAIL);
    expect(second.seen).toHaveLength(1);
  });

  test("NXDOMAIN is an answer: nobody else is asked", async () => {
    const first = await server((q) => [answer(q, DNS_NXDOMAIN, 0)]);
    const second = await server(good);
    const a = await ask(resolver([first.endpoint, second.endpoint]), query("none.test", DNS_A));
    expect(dnsRcode(a!, 0)).toBe(DNS_NXDOMAIN);
    expect(second.seen).toEqual([]);
  });

  test(proves("dns.silent", "silence leads to the next, and the silent one is asked last for a while"), async () => {
    vi.useFakeTimers(OUR_TIME);
    const first = await server(silent);
    const second = await server(good);
    const dns = resolver([first.endpoint, second.endpoint]);
    const q = query("next.test", DNS_A);
    const found = ask(dns, q);
    await until(() => first.seen.length === 1);
    vi.advanceTimersByTime(1499);
    expect(dns.counters.silent).toBe(0);
    vi.advanceTimersByTime(2);
    expect(await found).toEqual(answer(q));
    expect(dns.counters.silent).toBe(1);
    expect(await ask(dns, q)).toEqual(answer(q));
    expect(first.seen).toHaveLength(1);
    vi.advanceTimersByTime(31_000);
    first.behaviour = good;
    expect(await ask(dns, q)).toEqual(answer(q));
    expect(first.seen).toHaveLength(2);
  });

  test("a late answer of the first is taken while the second is asked", async () => {
    vi.useFakeTimers(OUR_TIME);
    const first = await server(silent);
    const second = await server(silent);
    const q = query("late.test", DNS_A);
    const found = ask(resolver([first.endpoint, second.endpoint]), q);
    await until(() => first.seen.length === 1);
    vi.advanceTimersByTime(1501);
    await until(() => second.seen.length === 1);
    await first.send(answer(first.seen[0]!.query), first.seen[0]!.from);
    expect(await found).toEqual(answer(q));
  });

  test("all silent: asked in turn, each time under another ID, then null within 10 s", async () => {
    vi.useFakeTimers(OUR_TIME);
    const first = await server(silent);
    const second = await server(silent);
    const dns = resolver([first.endpoint, second.endpoint]);
    const found = ask(dns, query("void.test", DNS_A));
    await until(() => first.seen.length === 1);
    vi.advanceTimersByTime(1501);
    await until(() => second.seen.length === 1);
    vi.advanceTimersByTime(1501);
    await until(() => first.seen.length === 2);
    vi.advanceTimersByTime(3001);
    await until(() => second.seen.length === 2);
    vi.advanceTimersByTime(3001);
    expect(await found).toBeNull();
    expect(dnsId(first.seen[0]!.query, 0)).not.toBe(dnsId(first.seen[1]!.query, 0));
  });
});

describe("over TCP", () => {
  test("answers of any size come whole, many queries at once", async () => {
    const s = await tcpServer((q, socket) => reply(socket, answer(q, 0, 200)));
    const dns = resolver([s.endpoint]);
    const queries = Array.from({ length: 20 }, (_, i) => query(`N${i}.test`, DNS_A, i));
    const found = await Promise.all(queries.map((q) => ask(dns, q, true)));
    expect(found).toEqual(queries.map((q) => answer(q, 0, 200)));
  });

  test("a name goes out in small letters, which carry nothing, and the answer has the guest's", async () => {
    const s = await tcpServer((q, socket) => reply(socket, answer(q)));
    const q = query("LeTTers.exAMple.test", DNS_A);
    expect(await ask(resolver([s.endpoint]), q, true)).toEqual(answer(q));
    expect(dnsQname(s.seen[0]!, 0)).toBe("letters.example.test");
  });

  test("the largest message arrives to the byte", async () => {
    const s = await tcpServer((q, socket) => {
      const huge = new Uint8Array(65_535).fill(9);
      huge.set(answer(q));
      reply(socket, huge);
    });
    const a = await ask(resolver([s.endpoint]), query("huge.test", DNS_A), true);
    expect(a).toHaveLength(65_535);
  });

  test.each<[string, Parameters<typeof TcpServer.open>[0]]>([
    ["closes", (_, socket) => socket.end()],
    ["resets", (_, socket) => socket.resetAndDestroy()],
    ["closes within the answer", (q, socket) => socket.end(Uint8Array.of(0, 200, ...answer(q)))],
    ["answers something else", (q, socket) => reply(socket, answer(query("evil.test", DNS_A, dnsId(q, 0))))],
    ["answers another ID", (q, socket) => reply(socket, answer(query("a.test", DNS_A, dnsId(q, 0) ^ 1)))],
    ["sends a length of 0", (_, socket) => socket.write(Uint8Array.of(0, 0, 0, 0))],
  ])("a server that %s is passed over at once", async (_, behaviour) => {
    const first = await tcpServer(behaviour);
    const second = await tcpServer((q, socket) => reply(socket, answer(q)));
    const dns = resolver([await deadEndpoint(), first.endpoint, second.endpoint], {
      firstMs: 60_000,
      totalMs: 120_000,
    });
    const q = query("a.test", DNS_A, 5);
    expect(await ask(dns, q, true)).toEqual(answer(q));
  });

  test("a silent server is given up for the next, its connection closed in the end", async () => {
    const first = await tcpServer(() => {});
    const second = await tcpServer((q, socket) => reply(socket, answer(q)));
    const dns = resolver([first.endpoint, second.endpoint], { firstMs: 50 });
    const q = query("a.test", DNS_A, 5);
    expect(await ask(dns, q, true)).toEqual(answer(q));
    await until(() => first.open === 0);
  });
});

describe("bounds and the end", () => {
  test("beyond the caps queries get null, not from inside the call", async () => {
    const s = await server(silent);
    const t = await tcpServer(() => {});
    const dns = resolver([s.endpoint, t.endpoint], { maxInFlight: 3, maxTcp: 1 });
    const seen: (Uint8Array | null)[] = [];
    dns.query(query("a.test", DNS_A), true, (a) => seen.push(a));
    dns.query(query("b.test", DNS_A), true, (a) => seen.push(a));
    expect(seen).toEqual([]);
    for (const name of ["c.test", "d.test"]) dns.query(query(name, DNS_A), false, () => expect.unreachable());
    expect(await ask(dns, query("e.test", DNS_A))).toBeNull();
    expect(seen).toEqual([null]);
    dns.close();
  });

  test("close leaves no socket, no timer and no callback", async () => {
    // Only our timers: the test runner has some of its own.
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const sockets = (): string =>
      process
        .getActiveResourcesInfo()
        .filter((x) => /UDP|TCP|Connect/i.test(x))
        .sort()
        .join();
    const s = await server(silent);
    const t = await tcpServer(() => {});
    await until(() => sockets() === "TCPServerWrap,UDPWrap");
    const before = pipes();
    const dns = new NodeDns({ upstreams: [s.endpoint] });
    const tcp = new NodeDns({ upstreams: [t.endpoint] });
    const fail = (): void => expect.unreachable();
    for (let i = 0; i < 50; i++) dns.query(query(`open${i}.test`, DNS_A), false, fail);
    tcp.query(query("open.test", DNS_A), true, fail);
    await until(() => s.seen.length === 50 && t.seen.length === 1);
    expect(vi.getTimerCount()).toBe(2);
    dns.close();
    tcp.close();
    dns.close();
    dns.query(query("late.test", DNS_A), false, fail);
    await until(() => sockets() === "TCPServerWrap,UDPWrap" && pipes() === before);
    expect(vi.getTimerCount()).toBe(0);
    for (const { query: q, from } of s.seen.slice(0, 5)) await s.send(answer(q), from);
  });

  test("an unused resolver lets go of its sockets and its timer by itself", async () => {
    vi.useFakeTimers(OUR_TIME);
    const s = await server(good);
    const before = pipes();
    const dns = resolver([s.endpoint]);
    const q = query("idle.test", DNS_A);
    expect(await ask(dns, q)).toEqual(answer(q));
    expect(vi.getTimerCount()).toBe(1);
    vi.advanceTimersByTime(7000);
    expect(vi.getTimerCount()).toBe(0);
    await until(() => pipes() === before);
    expect(await ask(dns, q)).toEqual(answer(q));
  });
});
