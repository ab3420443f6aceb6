import { get16, get32, put16, put32 } from "./bytes.ts";
import { finish, sum, valid } from "./checksum.ts";

/** IPv4 (RFC 791). `at` is the header's first byte throughout. */
export const IPV4_HEADER = 20;
/** The longest packet that every host takes, in bytes (RFC 791 section 3.1). */
export const IPV4_MIN_MTU = 576;
export const PROTO_ICMP = 1;
export const PROTO_TCP = 6;
export const PROTO_UDP = 17;

/**
 * Whether `len` bytes hold a whole IPv4 packet: version 4, header length and total length consistent and within `len`
 * (padding behind the packet is ignored), header checksum right.
 */
export function ipv4Check(buf: Uint8Array, at: number, len: number): boolean {
  if (len < IPV4_HEADER || buf[at]! >> 4 !== 4) return false;
  const header = (buf[at]! & 15) * 4;
  const total = get16(buf, at + 2);
  return header >= IPV4_HEADER && total >= header && total <= len && valid(sum(buf, at, header));
}

export function ipv4HeaderLength(buf: Uint8Array, at: number): number {
  return (buf[at]! & 15) * 4;
}

export function ipv4TotalLength(buf: Uint8Array, at: number): number {
  return get16(buf, at + 2);
}

export function ipv4Id(buf: Uint8Array, at: number): number {
  return get16(buf, at + 4);
}

export function ipv4DontFragment(buf: Uint8Array, at: number): boolean {
  return (buf[at + 6]! & 0x40) !== 0;
}

export function ipv4MoreFragments(buf: Uint8Array, at: number): boolean {
  return (buf[at + 6]! & 0x20) !== 0;
}

/** The fragment offset, in bytes. */
export function ipv4FragmentOffset(buf: Uint8Array, at: number): number {
  return (get16(buf, at + 6) & 0x1fff) * 8;
}

export function ipv4IsFragment(buf: Uint8Array, at: number): boolean {
  return (get16(buf, at + 6) & 0x3fff) !== 0;
}

export function ipv4Ttl(buf: Uint8Array, at: number): number {
  return buf[at + 8]!;
}

export function ipv4Proto(buf: Uint8Array, at: number): number {
  return buf[at + 9]!;
}

export function ipv4Src(buf: Uint8Array, at: number): number {
  return get32(buf, at + 12);
}

export function ipv4Dst(buf: Uint8Array, at: number): number {
  return get32(buf, at + 16);
}

/** The pseudo-header's share of a TCP or UDP checksum (RFC 9293 section 3.1). */
export function ipv4Pseudo(src: number, dst: number, proto: number, len: number): number {
  return (src >>> 16) + (src & 0xffff) + (dst >>> 16) + (dst & 0xffff) + proto + len;
}

/** Writes a header without options, checksum included, for `payload` bytes. Returns where the payload goes. */
export function ipv4Write(
  buf: Uint8Array,
  at: number,
  src: number,
  dst: number,
  proto: number,
  payload: number,
  ttl: number,
  id: number,
  flagsAndOffset: number,
): number {
  buf[at] = 0x45;
  buf[at + 1] = 0;
  put16(buf, at + 2, IPV4_HEADER + payload);
  put16(buf, at + 4, id);
  put16(buf, at + 6, flagsAndOffset);
  buf[at + 8] = ttl;
  buf[at + 9] = proto;
  put16(buf, at + 10, 0);
  put32(buf, at + 12, src);
  put32(buf, at + 16, dst);
  put16(buf, at + 10, finish(sum(buf, at, IPV4_HEADER)));
  return at + IPV4_HEADER;
}

export const IPV4_DF = 0x4000;

export function ipv4ToString(ip: number): string {
  return `${ip >>> 24}.${(ip >>> 16) & 255}.${(ip >>> 8) & 255}.${ip & 255}`;
}
