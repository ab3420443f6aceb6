/** DNS messages for tests, and the annotated ones of `fixtures/dns`. */

import { DNS_A, DNS_CNAME, DNS_IN, dnsEncodeName, dnsReply } from "../../src/wire/dns.ts";
import { hexFixture } from "./hex-fixture.ts";

/** A query with RD set; with `edns`, an OPT record that announces so many bytes. */
export function query(name: string, type: number, id = 0x1234, edns = 0): Uint8Array {
  const encoded = dnsEncodeName(name)!;
  const head = [id >> 8, id & 0xff, 1, 0, 0, 1, 0, 0, 0, 0, 0, edns > 0 ? 1 : 0];
  const opt = edns > 0 ? [0, 0, 41, edns >> 8, edns & 0xff, 0, 0, 0, 0, 0, 0] : [];
  return Uint8Array.from([...head, ...encoded, type >> 8, type & 0xff, 0, DNS_IN, ...opt]);
}

/** The query's answer with A records 192.0.2.1 and on. */
export function answer(q: Uint8Array, rcode = 0, records = 1): Uint8Array {
  const rdata = Array.from({ length: records }, (_, i) => Uint8Array.of(192, 0, 2, i + 1));
  return dnsReply(q, 0, q.length, rcode, rdata, 60);
}

/** CNAMEs have a name, A records four bytes. */
export type DnsRecord = readonly [owner: string, ttl: number, data: string | readonly number[]];

/** The query's answer with these records, as they are. */
export function answerWith(q: Uint8Array, ...records: DnsRecord[]): Uint8Array {
  const bytes = [...q];
  bytes[2]! |= 0x80;
  bytes[7] = records.length;
  for (const [owner, ttl, data] of records) {
    const rdata = typeof data === "string" ? [...dnsEncodeName(data)!] : data;
    const type = typeof data === "string" ? DNS_CNAME : DNS_A;
    const ttlBytes = [24, 16, 8, 0].map((shift) => (ttl >> shift) & 255);
    bytes.push(...dnsEncodeName(owner)!, 0, type, 0, 1, ...ttlBytes, rdata.length >> 8, rdata.length & 255, ...rdata);
  }
  return Uint8Array.from(bytes);
}

/** Messages behind their lengths, as on TCP. */
export function framed(...messages: Uint8Array[]): Uint8Array {
  return Uint8Array.from(messages.flatMap((m) => [m.length >> 8, m.length & 0xff, ...m]));
}

/** The messages of a TCP stream, and what is left of it. */
export function unframed(bytes: Uint8Array): { messages: Uint8Array[]; rest: Uint8Array } {
  const messages: Uint8Array[] = [];
  let at = 0;
  while (at + 2 <= bytes.length) {
    const length = (bytes[at]! << 8) | bytes[at + 1]!;
    if (at + 2 + length > bytes.length) break;
    messages.push(bytes.slice(at + 2, at + 2 + length));
    at += 2 + length;
  }
  return { messages, rest: bytes.slice(at) };
}

/** An annotated message from `fixtures/dns`. */
export function fixture(name: string): Uint8Array {
  return hexFixture(`dns/${name}`);
}
