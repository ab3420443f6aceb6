import { put16, put32 } from "./bytes.ts";
import { finish, sum, valid } from "./checksum.ts";
import { IPV6_HEADER, IPV6_MIN_MTU, ipv6Dst, ipv6Pseudo, ipv6Src, PROTO_ICMP6 } from "./ipv6.ts";

/** ICMPv6 (RFC 4443). `ip` is the offset of the message's IPv6 header, whose addresses the checksum covers. */
export const ICMP6_HEADER = 8;
export const ICMP6_UNREACHABLE = 1;
export const ICMP6_TOO_BIG = 2;
export const ICMP6_TIME_EXCEEDED = 3;
export const ICMP6_PARAMETER_PROBLEM = 4;
export const ICMP6_ECHO = 128;
export const ICMP6_ECHO_REPLY = 129;

/** Codes of `ICMP6_UNREACHABLE` (RFC 4443 section 3.1). */
export const UNREACHABLE6_NO_ROUTE = 0;
export const UNREACHABLE6_PROHIBITED = 1;
export const UNREACHABLE6_SCOPE = 2;
export const UNREACHABLE6_ADDRESS = 3;
export const UNREACHABLE6_PORT = 4;
/** The code of `ICMP6_TIME_EXCEEDED` for a hop limit used up (RFC 4443 section 3.3). */
export const EXCEEDED6_HOPS = 0;
export const EXCEEDED6_REASSEMBLY = 1;

/** The most bytes of a packet that an error quotes: the error fits the least MTU (RFC 4443 section 2.4 c). */
export const ICMP6_QUOTE_MAX: number = IPV6_MIN_MTU - IPV6_HEADER - ICMP6_HEADER;

/** Whether `len` bytes at `at` are a message with a right checksum. */
export function icmp6Check(buf: Uint8Array, ip: number, at: number, len: number): boolean {
  return len >= ICMP6_HEADER && valid(pseudo(buf, ip, len) + sum(buf, at, len));
}

/** Whether a message is an error (RFC 4443 section 2.1). An error is never answered with another. */
export function icmp6IsError(type: number): boolean {
  return type < 128;
}

/**
 * Writes type, code, checksum and the second word in front of a body of `body` bytes that already stands at `at + 8`.
 * The header at `ip` already has its addresses.
 */
export function icmp6Write(
  buf: Uint8Array,
  ip: number,
  at: number,
  type: number,
  code: number,
  word: number,
  body: number,
): void {
  buf[at] = type;
  buf[at + 1] = code;
  put16(buf, at + 2, 0);
  put32(buf, at + 4, word);
  put16(buf, at + 2, finish(pseudo(buf, ip, ICMP6_HEADER + body) + sum(buf, at, ICMP6_HEADER + body)));
}

function pseudo(buf: Uint8Array, ip: number, len: number): number {
  return ipv6Pseudo(buf, ipv6Src(buf, ip), buf, ipv6Dst(buf, ip), PROTO_ICMP6, len);
}
