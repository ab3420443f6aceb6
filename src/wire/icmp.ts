import { put16, put32 } from "./bytes.ts";
import { finish, sum, valid } from "./checksum.ts";

/** ICMP (RFC 792). */
export const ICMP_HEADER = 8;
export const ICMP_ECHO_REPLY = 0;
export const ICMP_UNREACHABLE = 3;
export const ICMP_ECHO = 8;
export const ICMP_TIME_EXCEEDED = 11;
export const ICMP_PARAMETER_PROBLEM = 12;
export const UNREACHABLE_NET = 0;
export const UNREACHABLE_HOST = 1;
export const UNREACHABLE_PROTOCOL = 2;
export const UNREACHABLE_PORT = 3;
/**
 * Code "fragmentation needed and DF set": the next hop's MTU is the lower half of the second word (RFC 1191 section 4).
 */
export const UNREACHABLE_TOO_BIG = 4;
export const UNREACHABLE_PROHIBITED = 13;

export function icmpCheck(buf: Uint8Array, at: number, len: number): boolean {
  return len >= ICMP_HEADER && valid(sum(buf, at, len));
}

/**
 * Writes type, code, checksum and the second word in front of a body that already stands at `at + 8`. `pseudo` is the
 * pseudo-header's share of an ICMPv6 checksum (RFC 4443 section 2.3); ICMP has none.
 */
export function icmpWrite(
  buf: Uint8Array,
  at: number,
  type: number,
  code: number,
  word: number,
  body: number,
  pseudo = 0,
): void {
  buf[at] = type;
  buf[at + 1] = code;
  put16(buf, at + 2, 0);
  put32(buf, at + 4, word);
  put16(buf, at + 2, finish(pseudo + sum(buf, at, ICMP_HEADER + body)));
}
