import { get16, get32, put16, put32 } from "./bytes.ts";
import { sum } from "./checksum.ts";
import { PROTO_TCP, PROTO_UDP } from "./ipv4.ts";

/**
 * IPv6 (RFC 8200). `at` is the header's first byte throughout. An address is 16 bytes somewhere in a buffer: accessors
 * return its offset, and nothing is copied.
 */
export const IPV6_HEADER = 40;
/** The packet length that every link carries, in bytes (RFC 8200 section 5). */
export const IPV6_MIN_MTU = 1280;
export const PROTO_ICMP6 = 58;
/** No next header (RFC 8200 section 4.7). */
export const PROTO_NONE = 59;

/** Offsets of fields, as a Parameter Problem's pointer gives them. */
export const IPV6_PAYLOAD_LENGTH_FIELD = 4;
const NEXT_HEADER = 6;
const HOP_LIMIT = 7;
const SRC = 8;
const DST = 24;

/**
 * Whether `len` bytes hold a whole IPv6 packet: version 6, payload length within `len` (padding behind the packet is
 * ignored). IPv6 has no header checksum.
 */
export function ipv6Check(buf: Uint8Array, at: number, len: number): boolean {
  return len >= IPV6_HEADER && buf[at]! >> 4 === 6 && IPV6_HEADER + get16(buf, at + IPV6_PAYLOAD_LENGTH_FIELD) <= len;
}

/** Bytes behind the fixed header: extension headers and the upper layer. */
export function ipv6PayloadLength(buf: Uint8Array, at: number): number {
  return get16(buf, at + IPV6_PAYLOAD_LENGTH_FIELD);
}

export function ipv6NextHeader(buf: Uint8Array, at: number): number {
  return buf[at + NEXT_HEADER]!;
}

export function ipv6HopLimit(buf: Uint8Array, at: number): number {
  return buf[at + HOP_LIMIT]!;
}

/** Where the source address stands. */
export function ipv6Src(_buf: Uint8Array, at: number): number {
  return at + SRC;
}

/** Where the destination address stands. */
export function ipv6Dst(_buf: Uint8Array, at: number): number {
  return at + DST;
}

/** The pseudo-header's share of an upper layer's checksum (RFC 8200 section 8.1). */
export function ipv6Pseudo(
  srcBuf: Uint8Array,
  srcAt: number,
  dstBuf: Uint8Array,
  dstAt: number,
  proto: number,
  len: number,
): number {
  return sum(srcBuf, srcAt, 16) + sum(dstBuf, dstAt, 16) + proto + len;
}

/** Writes a header for `payloadLen` bytes. Returns where the payload goes. */
export function ipv6Write(
  buf: Uint8Array,
  at: number,
  srcBuf: Uint8Array,
  srcAt: number,
  dstBuf: Uint8Array,
  dstAt: number,
  next: number,
  payloadLen: number,
  hopLimit: number,
): number {
  put32(buf, at, 0x60000000);
  put16(buf, at + IPV6_PAYLOAD_LENGTH_FIELD, payloadLen);
  buf[at + NEXT_HEADER] = next;
  buf[at + HOP_LIMIT] = hopLimit;
  ipv6Copy(buf, at + SRC, srcBuf, srcAt);
  ipv6Copy(buf, at + DST, dstBuf, dstAt);
  return at + IPV6_HEADER;
}

/** Copies an address. Source and target may overlap only if they are the same. */
export function ipv6Copy(to: Uint8Array, toAt: number, from: Uint8Array, fromAt: number): void {
  for (let i = 0; i < 16; i++) to[toAt + i] = from[fromAt + i]!;
}

export function ipv6Equals(a: Uint8Array, aAt: number, b: Uint8Array, bAt: number): boolean {
  return (
    get32(a, aAt + 12) === get32(b, bAt + 12) &&
    get32(a, aAt + 8) === get32(b, bAt + 8) &&
    get32(a, aAt + 4) === get32(b, bAt + 4) &&
    get32(a, aAt) === get32(b, bAt)
  );
}

/** Whether the first `bits` bits of two addresses agree. */
export function ipv6SamePrefix(a: Uint8Array, aAt: number, b: Uint8Array, bAt: number, bits: number): boolean {
  const whole = bits >> 3;
  for (let i = 0; i < whole; i++) if (a[aAt + i] !== b[bAt + i]) return false;
  const rest = 8 - (bits & 7);
  return rest === 8 || a[aAt + whole]! >> rest === b[bAt + whole]! >> rest;
}

/** ff00::/8 (RFC 4291 section 2.7). */
export function ipv6IsMulticast(buf: Uint8Array, at: number): boolean {
  return buf[at] === 0xff;
}

/** fe80::/10 (RFC 4291 section 2.5.6). */
export function ipv6IsLinkLocal(buf: Uint8Array, at: number): boolean {
  return buf[at] === 0xfe && (buf[at + 1]! & 0xc0) === 0x80;
}

/** `::` (RFC 4291 section 2.5.2). */
export function ipv6IsUnspecified(buf: Uint8Array, at: number): boolean {
  return upperIsZero(buf, at) && get32(buf, at + 8) === 0 && get32(buf, at + 12) === 0;
}

/**
 * ::ffff:0:0/96 (RFC 4291 section 2.5.5.2). Such an address never belongs on a wire; let through, it would reach the
 * host's IPv4.
 */
export function ipv6IsV4Mapped(buf: Uint8Array, at: number): boolean {
  return upperIsZero(buf, at) && get32(buf, at + 8) === 0xffff;
}

function upperIsZero(buf: Uint8Array, at: number): boolean {
  return get32(buf, at) === 0 && get32(buf, at + 4) === 0;
}

/** Writes the solicited-node multicast address of `addr`. */
export function ipv6WriteSolicitedNode(buf: Uint8Array, at: number, addr: Uint8Array, addrAt: number): void {
  put32(buf, at, 0xff020000);
  put32(buf, at + 4, 0);
  put32(buf, at + 8, 1);
  put32(buf, at + 12, get32(addr, addrAt + 12) | 0xff000000);
}

/** Writes the Ethernet address of a multicast address: 33:33 and its last four bytes (RFC 2464 section 7). */
export function ipv6WriteMulticastMac(buf: Uint8Array, at: number, addr: Uint8Array, addrAt: number): void {
  buf[at] = 0x33;
  buf[at + 1] = 0x33;
  put32(buf, at + 2, get32(addr, addrAt + 12));
}

/** All nodes and all routers on the link (RFC 4291 section 2.7.1). */
export const IPV6_ALL_NODES: Uint8Array = ipv6FromText("ff02::1");
export const IPV6_ALL_ROUTERS: Uint8Array = ipv6FromText("ff02::2");
/** The 16 bytes of an address in text that has been validated before: no zone, no brackets, no prefix length. */
export function ipv6FromText(text: string): Uint8Array {
  const out = new Uint8Array(16);
  const [head, tail] = text.split("::") as [string, string | undefined];
  const before = groups(head);
  const after = groups(tail ?? "");
  for (const [i, value] of before.entries()) put16(out, 2 * i, value);
  for (const [i, value] of after.entries()) put16(out, 16 - 2 * after.length + 2 * i, value);
  return out;
}

function groups(text: string): number[] {
  if (text === "") return [];
  const list: number[] = [];
  for (const part of text.split(":")) {
    if (!part.includes(".")) {
      list.push(Number.parseInt(part, 16));
      continue;
    }
    const [a, b, c, d] = part.split(".").map(Number) as [number, number, number, number];
    list.push((a << 8) | b, (c << 8) | d);
  }
  return list;
}

/** An address as RFC 5952 writes it; IPv4-mapped addresses in dotted decimal (RFC 5952 section 5). */
export function ipv6ToString(buf: Uint8Array, at = 0): string {
  if (ipv6IsV4Mapped(buf, at)) return `::ffff:${buf[at + 12]}.${buf[at + 13]}.${buf[at + 14]}.${buf[at + 15]}`;
  let from = -1;
  let length = 1;
  // The first of the longest runs of zeros, if it is longer than one group (sections 4.2.2 and 4.2.3).
  for (let i = 0, run = 0; i < 8; i++) {
    run = get16(buf, at + 2 * i) === 0 ? run + 1 : 0;
    if (run > length) {
      length = run;
      from = i - run + 1;
    }
  }
  let text = "";
  for (let i = 0; i < 8; i++) {
    if (i === from) {
      text += "::";
      i += length - 1;
      continue;
    }
    if (i > 0 && !text.endsWith(":")) text += ":";
    text += get16(buf, at + 2 * i).toString(16);
  }
  return text;
}

/** Whether `proto` is an upper layer that tslirp speaks, or "no next header". */
export function ipv6IsUpperLayer(proto: number): boolean {
  return proto === PROTO_TCP || proto === PROTO_UDP || proto === PROTO_ICMP6 || proto === PROTO_NONE;
}
