import fc from "fast-check";
import { expect, test } from "vitest";
import type { HostTcp, HostTcpEvents } from "../../src/core/host-net.ts";
import { DEFAULT_LIMITS } from "../../src/core/limits.ts";
import { NO_TRACE } from "../../src/core/trace.ts";
import { DnsForwarder } from "../../src/proto/dns.ts";
import { dnsTcpService } from "../../src/proto/dns-tcp.ts";
import { DNS_A, DNS_NOTIMP, DNS_SERVFAIL, dnsId, dnsRcode } from "../../src/wire/dns.ts";
import { proves } from "../cases/proves.ts";
import { answer, framed, query, unframed } from "../support/dns.ts";
import { FakeDns } from "../support/dns-host.ts";

/** What a flow would see, and the bytes it got. */
class Client implements HostTcpEvents {
  readonly log: string[] = [];
  bytes: Uint8Array = new Uint8Array(0);
  largest = 0;
  pauseAfter = Number.POSITIVE_INFINITY;
  tcp!: HostTcp;
  onConnect(): void {
    this.log.push("connect");
  }
  onData(bytes: Uint8Array, at: number, len: number): void {
    this.bytes = Uint8Array.from([...this.bytes, ...bytes.subarray(at, at + len)]);
    this.largest = Math.max(this.largest, len);
    if (this.bytes.length >= this.pauseAfter) this.tcp.pause();
  }
  onEnd(): void {
    this.log.push("end");
  }
  onDrain(): void {
    this.log.push("drain");
  }
  onClose(code: string | null): void {
    this.log.push(`close ${code}`);
  }
  write(bytes: Uint8Array): void {
    const copy = bytes.slice();
    this.tcp.write({ bytes: copy, scarce: false, pin() {}, unpin() {} }, 0, copy.length);
    copy.fill(0xee);
  }
  get ids(): number[] {
    return unframed(this.bytes).messages.map((m) => dnsId(m, 0));
  }
}

/** Microtasks that are due have run. */
const settled = (): Promise<void> => new Promise((done) => setImmediate(done));

function service(dnsInFlight = 1000): { host: FakeDns; dial: () => Client } {
  const host = new FakeDns();
  const forwarder = new DnsForwarder(
    host,
    {
      ...DEFAULT_LIMITS,
      dnsInFlight,
      dnsInFlightPerGuest: dnsInFlight,
      dnsTcpInFlight: 1000,
      dnsTcpInFlightPerGuest: 1000,
    },
    { now: () => 0 },
    NO_TRACE,
  );
  const connect = dnsTcpService(forwarder, DEFAULT_LIMITS.dnsConnections);
  const dial = (): Client => {
    const client = new Client();
    client.tcp = connect(client);
    expect(client.log).toEqual([]);
    return client;
  };
  return { host, dial };
}

async function connected(dnsInFlight?: number): Promise<{ host: FakeDns; client: Client; dial: () => Client }> {
  const { host, dial } = service(dnsInFlight);
  const client = dial();
  await settled();
  expect(client.log).toEqual(["connect"]);
  client.tcp.resume();
  return { host, client, dial };
}

test(
  proves("dns.pipelining", "pipelined queries are asked as they come and answered as the answers come"),
  async () => {
    const { host, client } = await connected();
    const queries = [1, 2, 3].map((id) => query(`n${id}.test`, DNS_A, id));
    client.write(framed(...queries));
    await settled();
    expect(host.asked.map((a) => a.query)).toEqual(queries);
    expect(host.asked.every((a) => a.tcp)).toBe(true);
    for (const i of [2, 0, 1]) host.asked[i]!.onAnswer(answer(queries[i]!));
    await settled();
    expect(client.ids).toEqual([3, 1, 2]);
    expect(unframed(client.bytes).messages[0]).toEqual(answer(queries[2]!));
  },
);

test("framing survives any cut of the stream", async () => {
  const queries = Array.from({ length: 12 }, (_, id) => query(`name-${id}.test`, DNS_A, id));
  const stream = framed(...queries);
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 20 }), async (sizes) => {
      const { host, client } = await connected();
      for (let at = 0, k = 0; at < stream.length; k++) {
        const n = sizes[k % sizes.length]!;
        client.write(stream.subarray(at, at + n));
        if (k % 2 === 0) await settled();
        at += n;
      }
      await settled();
      expect(host.asked.map((a) => a.query)).toEqual(queries);
    }),
    { numRuns: 30 },
  );
});

test("beyond 16 unanswered, bytes stay as backlog, and drain as answers go", async () => {
  const { host, client } = await connected();
  const queries = Array.from({ length: 40 }, (_, id) => query("many.test", DNS_A, id));
  client.write(framed(...queries));
  await settled();
  expect(host.asked).toHaveLength(16);
  expect(client.tcp.backlog).toBe(24 * (queries[0]!.length + 2));
  host.asked[0]!.onAnswer(answer(queries[0]!));
  await settled();
  expect(host.asked).toHaveLength(17);
  expect(client.log).toEqual(["connect", "drain"]);
  for (let i = 1; i < 40; i++) {
    host.asked[i]!.onAnswer(answer(queries[i]!));
    await settled();
  }
  expect(client.tcp.backlog).toBe(0);
  expect(client.ids).toEqual(queries.map((q) => dnsId(q, 0)));
});

test("a guest that reads nothing gets nothing more asked, and then everything once", async () => {
  const { host, client } = await connected();
  client.tcp.pause();
  const queries = Array.from({ length: 40 }, (_, id) => query("paused.test", DNS_A, id));
  client.write(framed(...queries));
  await settled();
  for (const [i, one] of host.asked.entries()) one.onAnswer(answer(queries[i]!));
  await settled();
  expect(host.asked).toHaveLength(16);
  expect(client.bytes).toHaveLength(0);
  client.tcp.resume();
  await settled();
  expect(host.asked).toHaveLength(32);
  for (let i = 16; i < 40; i++) {
    await settled();
    host.asked[i]!.onAnswer(answer(queries[i]!));
  }
  await settled();
  expect(client.ids).toEqual(queries.map((q) => dnsId(q, 0)));
});

test("asks nothing more while the guest takes no answers that are large, and then everything", async () => {
  const { host, client } = await connected();
  client.tcp.pause();
  const queries = Array.from({ length: 3 }, (_, id) => query("large.test", DNS_A, id));
  const large = (i: number): Uint8Array => {
    const bytes = new Uint8Array(i === 0 ? 65_535 : 100);
    bytes.set(answer(queries[i]!));
    return bytes;
  };
  client.write(framed(queries[0]!));
  await settled();
  host.asked[0]!.onAnswer(large(0));
  await settled();
  for (const each of queries.slice(1)) client.write(framed(each));
  await settled();
  expect(host.asked).toHaveLength(1);
  client.tcp.resume();
  await settled();
  expect(host.asked).toHaveLength(3);
  for (let i = 1; i < 3; i++) host.asked[i]!.onAnswer(large(i));
  await settled();
  expect(client.ids).toEqual(queries.map((q) => dnsId(q, 0)));
});

test("the largest answer goes in pieces between which pause takes effect", async () => {
  const { host, client } = await connected();
  const q = query("huge.test", DNS_A, 4);
  client.write(framed(q));
  await settled();
  const huge = new Uint8Array(65_535).fill(7);
  huge.set(answer(q));
  client.pauseAfter = 20_000;
  host.asked[0]!.onAnswer(huge);
  await settled();
  expect(client.bytes.length).toBe(32_768);
  expect(client.largest).toBeLessThanOrEqual(16_384);
  client.pauseAfter = Number.POSITIVE_INFINITY;
  client.tcp.resume();
  await settled();
  expect(unframed(client.bytes)).toEqual({ messages: [huge], rest: new Uint8Array(0) });
});

test("after the guest's FIN what was asked is answered, then both directions end", async () => {
  const { host, client } = await connected();
  const q = query("last.test", DNS_A, 6);
  client.write(framed(q));
  client.tcp.end();
  await settled();
  expect(client.log).toEqual(["connect"]);
  host.asked[0]!.onAnswer(answer(q));
  await settled();
  expect(client.ids).toEqual([6]);
  expect(client.log).toEqual(["connect", "end", "close null"]);
});

test("a FIN within a message ends the connection without it", async () => {
  const { host, client } = await connected();
  client.write(framed(query("cut.test", DNS_A)).subarray(0, 9));
  client.tcp.end();
  await settled();
  expect(host.asked).toEqual([]);
  expect(client.log).toEqual(["connect", "end", "close null"]);
});

test.each([
  ["a length of 0", Uint8Array.of(0, 0)],
  ["a length beyond any query", Uint8Array.of(0xff, 0xff, 1, 2)],
  ["garbage", framed(new Uint8Array(40).fill(0xff))],
])("%s resets the connection, once", async (_, bytes) => {
  const { host, client } = await connected();
  client.write(bytes);
  client.write(framed(query("after.test", DNS_A)));
  await settled();
  client.write(framed(query("after.test", DNS_A)));
  client.tcp.end();
  await settled();
  expect(host.asked).toEqual([]);
  expect(client.log).toEqual(["connect", "close ECONNRESET"]);
});

test("after reset nothing follows, whatever was under way", async () => {
  const { host, client, dial } = await connected();
  const q = query("gone.test", DNS_A);
  client.write(framed(q, q));
  await settled();
  host.asked[0]!.onAnswer(answer(q));
  client.tcp.reset();
  host.asked[1]!.onAnswer(answer(q));
  await settled();
  expect(client.log).toEqual(["connect"]);
  expect(client.bytes).toHaveLength(0);
  const early = dial();
  early.tcp.reset();
  await settled();
  expect(early.log).toEqual([]);
});

test("what the forwarder answers itself does not come from inside write()", async () => {
  const { client } = await connected(0);
  const update = query("a.test", 6, 1);
  update[2] = 5 << 3;
  const busy = Array.from({ length: 40 }, (_, i) => query("busy.test", DNS_A, 100 + i));
  const normal = (m: Uint8Array): number => dnsRcode(m, 0);
  client.write(framed(...busy));
  expect(client.bytes).toHaveLength(0);
  await settled();
  expect(unframed(client.bytes).messages.map(normal)).toEqual(Array(40).fill(DNS_SERVFAIL));
  const other = await connected();
  other.client.write(framed(update));
  await settled();
  expect(unframed(other.client.bytes).messages.map(normal)).toEqual([DNS_NOTIMP]);
});

test("beyond 256 connections the one idle longest is reset", async () => {
  const { client, dial, host } = await connected();
  const second = dial();
  const others = Array.from({ length: 254 }, dial);
  client.write(framed(query("busy.test", DNS_A, 3)));
  const late = dial();
  await settled();
  expect(second.log).toEqual(["connect", "close ECONNRESET"]);
  expect([client, ...others, late].every((c) => c.log.length === 1)).toBe(true);
  expect(host.asked).toHaveLength(1);
});

test("a megabyte in single bytes behind a stall costs no quadratic copying", async () => {
  const { host, client } = await connected();
  const q = framed(query("drip.test", DNS_A));
  const bytes = new Uint8Array(q.length * 30_000);
  for (let at = 0; at < bytes.length; at += q.length) bytes.set(q, at);
  const slab = { bytes, scarce: false, pin() {}, unpin() {} };
  const since = process.cpuUsage();
  for (let at = 0; at < bytes.length; at++) client.tcp.write(slab, at, 1);
  expect(process.cpuUsage(since).user / 1000).toBeLessThan(5_000);
  await settled();
  expect(host.asked).toHaveLength(16);
  expect(client.tcp.backlog).toBe(bytes.length - 16 * q.length);
});
