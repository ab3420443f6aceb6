import { expect, test } from "vitest";
import { DEFAULT_LIMITS } from "../../src/core/limits.ts";
import type { DropReason, TraceEvent } from "../../src/core/trace.ts";
import { DnsForwarder } from "../../src/proto/dns.ts";
import {
  DNS_A,
  DNS_AAAA,
  DNS_AXFR,
  DNS_IXFR,
  DNS_NOTIMP,
  DNS_NXDOMAIN,
  DNS_REFUSED,
  DNS_SERVFAIL,
  dnsId,
  dnsQname,
  dnsRcode,
  dnsSameQuestion,
  dnsTruncated,
} from "../../src/wire/dns.ts";
import { proves } from "../cases/proves.ts";
import { answer, query } from "../support/dns.ts";
import { FakeDns } from "../support/dns-host.ts";

interface Rig {
  host: FakeDns;
  forwarder: DnsForwarder;
  drops: DropReason[];
  events: TraceEvent[];
  clock: { time: number };
  answers: Uint8Array[];
  udp(message: Uint8Array): void;
}

function rig(dnsInFlight = 8): Rig {
  const host = new FakeDns();
  const drops: DropReason[] = [];
  const events: TraceEvent[] = [];
  const clock = { time: 1000 };
  const trace = { drop: (r: DropReason) => void drops.push(r), event: (e: TraceEvent) => void events.push(e) };
  const forwarder = new DnsForwarder(
    host,
    { ...DEFAULT_LIMITS, dnsInFlight, dnsInFlightPerGuest: dnsInFlight },
    { now: () => clock.time },
    trace,
  );
  const answers: Uint8Array[] = [];
  const udp = (message: Uint8Array): void => {
    // Within a larger buffer, as in a frame, which is overwritten as soon as the call returns.
    const frame = new Uint8Array(message.length + 60);
    frame.set(message, 42);
    forwarder.queryUdp(frame, 42, message.length, (a) => answers.push(a));
    frame.fill(0xee);
  };
  return { host, forwarder, drops, events, clock, answers, udp };
}

test(proves("dns.case", "a question reaches the host to the byte, and its answer the guest"), () => {
  const r = rig();
  const q = query("WwW.ExAmPle.test", 65, 0xabcd, 1232);
  r.udp(q);
  expect(r.host.asked).toHaveLength(1);
  expect(r.host.asked[0]!.query).toEqual(q);
  expect(r.host.asked[0]!.tcp).toBe(false);
  const a = answer(q, 0, 3);
  r.host.asked[0]!.onAnswer(a);
  expect(r.answers).toEqual([a]);
});

/** A record of the root's, with two bytes of type and class, four of TTL, and data. */
const record = (type: number, data: readonly number[], cls = 1, ttl = [0, 0, 0, 0]): number[] => [
  ...[0, type >> 8, type & 255, cls >> 8, cls & 255, ...ttl, data.length >> 8, data.length & 255],
  ...data,
];
/** A query with flags, counts of records behind the question, and bytes behind it. */
const stuffed = (flags: number, counts: readonly [number, number, number], behind: readonly number[]): Uint8Array => {
  const q = [...query("only.good.test", DNS_A, 7)];
  q[2] = flags >> 8;
  q[3] = flags & 255;
  counts.forEach((count, i) => {
    q[7 + 2 * i] = count;
  });
  return Uint8Array.from([...q, ...behind]);
};
const SECRET = [..."a secret of the guest's"].map((char) => char.charCodeAt(0));
const PLAIN = query("only.good.test", DNS_A, 7);
const WITH_OPT = query("only.good.test", DNS_A, 7, 1232);
const asking = (flags: number, from: Uint8Array): Uint8Array => {
  const q = from.slice();
  q[2] = flags >> 8;
  q[3] = flags & 255;
  return q;
};
const withDo = (from: Uint8Array): Uint8Array => {
  const q = from.slice();
  q[q.length - 4] = 0x80;
  return q;
};

test.each<[string, Uint8Array, Uint8Array]>([
  ["bytes behind the question", stuffed(0x100, [0, 0, 0], SECRET), PLAIN],
  ["an answer record", stuffed(0x100, [1, 0, 0], record(16, SECRET)), PLAIN],
  ["an authority record", stuffed(0x100, [0, 1, 0], record(16, SECRET)), PLAIN],
  ["an additional record", stuffed(0x100, [0, 0, 1], record(16, SECRET)), PLAIN],
  [
    "a signature (TSIG, SIG(0))",
    stuffed(0x100, [0, 0, 2], [...record(250, SECRET, 255), ...record(24, SECRET)]),
    PLAIN,
  ],
  ["counts of records that are not there", stuffed(0x100, [9, 8, 7], []), PLAIN],
  ["header flags: AA, TC, RA, Z, an rcode", stuffed(0x0100 | 0x0600 | 0x00c0 | 0x000f, [0, 0, 0], []), PLAIN],
  ["no RD", stuffed(0, [0, 0, 0], []), asking(0, PLAIN)],
  ["RD, AD and CD", stuffed(0x0130, [0, 0, 0], []), asking(0x0130, PLAIN)],
  ["an OPT record's size", stuffed(0x100, [0, 0, 1], record(41, [], 0x4142)), WITH_OPT],
  ["its version and flags", stuffed(0x100, [0, 0, 1], record(41, [], 4096, [0x41, 0x42, 0x7f, 0xff])), WITH_OPT],
  [
    "its options: ECS, a cookie",
    stuffed(0x100, [0, 0, 1], record(41, [0, 8, 0, SECRET.length, ...SECRET], 4096)),
    WITH_OPT,
  ],
  ["its DO bit", stuffed(0x100, [0, 0, 1], record(41, [], 4096, [0, 0, 0x80, 1])), withDo(WITH_OPT)],
  [
    "records around it",
    stuffed(
      0x100,
      [1, 0, 3],
      [...record(1, [1, 2, 3, 4]), ...record(16, SECRET), ...record(41, [], 4096), ...record(250, [])],
    ),
    WITH_OPT,
  ],
])("a resolver is asked anew, with the question and what of the header asks for something: %s", (_, sent, reaches) => {
  for (const tcp of [false, true]) {
    const r = rig();
    if (tcp) r.forwarder.queryTcp(sent, 0, sent.length, (a) => r.answers.push(a));
    else r.udp(sent);
    expect(Buffer.from(r.host.asked[0]!.query).toString("hex")).toBe(Buffer.from(reaches).toString("hex"));
  }
});

test("two questions reach nobody", () => {
  const r = rig();
  const two = Uint8Array.from([...PLAIN, ...PLAIN.subarray(12)]);
  two[5] = 2;
  r.udp(two);
  expect(r.host.asked).toEqual([]);
  expect(r.drops).toEqual(["dns-malformed"]);
});

test(proves("dns.pair", "A and AAAA with one ID from one port are both answered"), () => {
  const r = rig();
  const a = query("host.test", DNS_A, 5);
  const aaaa = query("host.test", DNS_AAAA, 5);
  r.udp(a);
  r.udp(aaaa);
  r.host.asked[1]!.onAnswer(answer(aaaa, 0, 0));
  r.host.asked[0]!.onAnswer(answer(a));
  expect(r.answers.map((m) => dnsSameQuestion(m, 0, aaaa, 0))).toEqual([true, false]);
  expect(dnsSameQuestion(r.answers[1]!, 0, a, 0)).toBe(true);
});

test(proves("dns.errors", "NXDOMAIN and SERVFAIL are passed on as they are"), () => {
  const r = rig();
  for (const rcode of [DNS_NXDOMAIN, DNS_SERVFAIL]) {
    const q = query("none.test", DNS_A);
    r.udp(q);
    r.host.asked.pop()!.onAnswer(answer(q, rcode, 0));
    expect(dnsRcode(r.answers.pop()!, 0)).toBe(rcode);
  }
});

test(proves("dns.silent", "silence upstream becomes SERVFAIL, with ID and question"), () => {
  const r = rig();
  const q = query("Slow.test", DNS_A, 77);
  r.udp(q);
  r.host.asked[0]!.onAnswer(null);
  const [a] = r.answers;
  expect(dnsRcode(a!, 0)).toBe(DNS_SERVFAIL);
  expect(dnsId(a!, 0)).toBe(77);
  expect(dnsQname(a!, 0)).toBe("Slow.test");
});

test.each([
  ["no EDNS", 0, 512],
  ["EDNS 1000", 1000, 1000],
  ["EDNS 4096, but no more than 1232", 4096, 1232],
])(proves(["dns.edns", "dns.tc"], "answers are cut with TC to what the client takes: %s"), (_, edns, most) => {
  const r = rig();
  const q = query("big.test", DNS_A, 9, edns);
  // Pad by the name's record count to the byte below and above the limit.
  const exact = new Uint8Array(most);
  exact.set(answer(q, 0, 1));
  r.udp(q);
  r.host.asked[0]!.onAnswer(exact);
  expect(r.answers[0]).toBe(exact);
  const over = new Uint8Array(most + 1);
  over.set(answer(q, 0, 1));
  r.udp(q);
  r.host.asked[1]!.onAnswer(over);
  expect(dnsTruncated(r.answers[1]!, 0)).toBe(true);
  expect(r.answers[1]!.length).toBeLessThan(64);
  expect(dnsId(r.answers[1]!, 0)).toBe(9);
});

test("what is no query is dropped and counted, and reaches nobody", () => {
  const r = rig();
  const q = query("a.test", DNS_A);
  r.udp(new Uint8Array(0));
  r.udp(q.subarray(0, q.length - 1));
  r.udp(answer(q));
  r.udp(new Uint8Array([...q, ...new Uint8Array(4096)]));
  expect(r.drops).toEqual(Array(4).fill("dns-malformed"));
  expect(r.host.asked).toEqual([]);
  expect(r.answers).toEqual([]);
});

test("other operations than a query are not implemented, zone transfers refused", () => {
  const r = rig();
  const update = query("a.test", 6);
  update[2] = 5 << 3;
  r.udp(update);
  r.udp(query("a.test", DNS_AXFR));
  r.udp(query("a.test", DNS_IXFR));
  expect(r.answers.map((a) => dnsRcode(a, 0))).toEqual([DNS_NOTIMP, DNS_REFUSED, DNS_REFUSED]);
  expect(r.host.asked).toEqual([]);
});

test("a flood of unanswered queries is bounded, and service goes on afterwards", () => {
  const r = rig(8);
  for (let i = 0; i < 1000; i++) r.udp(query("flood.test", DNS_A, i));
  expect(r.host.asked).toHaveLength(8);
  expect(r.forwarder.inFlight).toBe(8);
  expect(r.drops).toEqual(Array(992).fill("dns-busy"));
  for (const one of r.host.asked.splice(0)) one.onAnswer(null);
  expect(r.forwarder.inFlight).toBe(0);
  const q = query("after.test", DNS_A);
  r.udp(q);
  r.host.asked[0]!.onAnswer(answer(q));
  expect(dnsRcode(r.answers.at(-1)!, 0)).toBe(0);
});

test("each answered query is an event with guest, name, type, rcode and time", () => {
  const r = rig();
  const q = query("seen.test", DNS_AAAA);
  r.udp(q);
  r.clock.time += 25;
  r.host.asked[0]!.onAnswer(answer(q, DNS_NXDOMAIN, 0));
  const asked = { guest: "0.0.0.0", name: "seen.test", qtype: DNS_AAAA };
  expect(r.events).toEqual([{ type: "dns", ...asked, rcode: DNS_NXDOMAIN, millis: 25, addresses: [] }]);
});

test("the event has the answer's addresses, the first four", () => {
  const r = rig();
  for (const count of [1, 6]) {
    const q = query("seen.test", DNS_A);
    r.udp(q);
    r.host.asked.pop()!.onAnswer(answer(q, 0, count));
  }
  const told = r.events.map((event) => (event as { addresses: readonly string[] }).addresses);
  expect(told.map(({ length }) => length)).toEqual([1, 4]);
  for (const address of told.flat()) expect(address).toMatch(/^\d+\.\d+\.\d+\.\d+$/);
});

test("over TCP nothing is cut, and too many at once are told SERVFAIL", () => {
  const r = rig(1);
  const q = query("big.test", DNS_A);
  expect(r.forwarder.queryTcp(q, 0, q.length, (a) => r.answers.push(a))).toBe(true);
  expect(r.host.asked[0]!.tcp).toBe(true);
  expect(r.forwarder.queryTcp(q, 0, q.length, (a) => r.answers.push(a))).toBe(true);
  expect(dnsRcode(r.answers[0]!, 0)).toBe(DNS_SERVFAIL);
  expect(r.drops).toEqual(["dns-busy"]);
  const big = answer(q, 0, 200);
  r.host.asked[0]!.onAnswer(big);
  expect(r.answers[1]).toBe(big);
  expect(r.forwarder.queryTcp(q, 0, 11, (a) => r.answers.push(a))).toBe(false);
});

test("queries over TCP have a cap of their own, of all and of each guest", () => {
  const host = new FakeDns();
  const drops: DropReason[] = [];
  const cables: Record<string, object> = { "10.0.2.16": {}, "10.0.2.17": {} };
  const nowhere = { host: "10.0.2.3", port: 53 };
  const forwarder = new DnsForwarder(
    host,
    { ...DEFAULT_LIMITS, dnsTcpInFlight: 3, dnsTcpInFlightPerGuest: 2 },
    { now: () => 0 },
    { drop: (reason) => void drops.push(reason), event() {} },
    {
      ...{ local: null, names: null, gate: null, guestOf: () => 0, server4: nowhere, server6: nowhere },
      cableOf: (from) => cables[from]!,
      hosts: () => null,
      serversOf: () => undefined,
    },
  );
  const q = query("a.test", DNS_A);
  const ask = (guest: string, tcp: boolean): void => {
    const from = { host: guest, port: 1 };
    if (tcp) forwarder.queryTcp(q, 0, q.length, () => {}, from);
    else forwarder.queryUdp(q, 0, q.length, () => {}, from);
  };
  for (let i = 0; i < 5; i++) ask("10.0.2.16", true);
  expect(host.asked).toHaveLength(2);
  ask("10.0.2.17", true);
  ask("10.0.2.17", true);
  expect(host.asked).toHaveLength(3);
  expect(drops).toEqual(Array(4).fill("dns-busy"));
  ask("10.0.2.16", false);
  expect(host.asked).toHaveLength(4);
  for (const one of host.asked.splice(0)) one.onAnswer(null);
  ask("10.0.2.16", true);
  ask("10.0.2.17", true);
  expect(host.asked).toHaveLength(2);
  expect(drops).toHaveLength(4);
});
