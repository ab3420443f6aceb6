/**
 * ICMP errors from guests about packets that we sent them (RFC 792, RFC 4443).
 *
 * An error is believed when it quotes a packet to that guest, of a flow that exists. The flow then decides what to do.
 * All other errors are dropped: forged ones, short ones, and those about flows that have ended.
 */
import type { Neighbour } from "../../proto/neighbours.ts";
import { get16, get32 } from "../../wire/bytes.ts";
import {
  ICMP_HEADER,
  ICMP_TIME_EXCEEDED,
  ICMP_UNREACHABLE,
  UNREACHABLE_PORT,
  UNREACHABLE_PROTOCOL,
  UNREACHABLE_TOO_BIG,
} from "../../wire/icmp.ts";
import { ICMP6_TIME_EXCEEDED, ICMP6_TOO_BIG, ICMP6_UNREACHABLE, UNREACHABLE6_PORT } from "../../wire/icmp6.ts";
import { IPV4_HEADER, ipv4FragmentOffset, ipv4HeaderLength, ipv4Proto } from "../../wire/ipv4.ts";
import { IPV6_HEADER, ipv6NextHeader } from "../../wire/ipv6.ts";
import type { GuestError } from "../flow/flow.ts";
import type { FlowRegistry } from "../flow/registry.ts";

/** A quote has at least this much of the upper layer: ports, and TCP's sequence number (RFC 792). */
const QUOTED = 8;

/** An ICMP message of `len` bytes at `at`, whose checksum is right. False when it is no error, or concerns no flow. */
export function guestError(guest: Neighbour, buf: Uint8Array, at: number, len: number, flows: FlowRegistry): boolean {
  const v4 = guest.family === 4;
  const error = v4 ? kind4(buf[at]!, buf[at + 1]!) : kind6(buf[at]!, buf[at + 1]!);
  if (error === null) return false;
  const ip = at + ICMP_HEADER;
  const quoted = len - ICMP_HEADER;
  const header = v4 ? ipv4Quote(buf, ip, quoted) : ipv6Quote(buf, ip, quoted);
  if (header < 0) return false;
  const src = ip + (v4 ? 12 : 8);
  if (!guest.address.at(buf, src + (v4 ? 4 : 16))) return false;
  const proto = v4 ? ipv4Proto(buf, ip) : ipv6NextHeader(buf, ip);
  const upper = ip + header;
  const ports = (get16(buf, upper + 2) << 16) | get16(buf, upper);
  const mtu = error === "too-big" ? (v4 ? get16(buf, at + 6) : get32(buf, at + 4) >>> 0) : 0;
  return flows.guestError(proto, guest, buf, src, ports, get32(buf, upper + 4), error, mtu);
}

function kind4(type: number, code: number): GuestError | null {
  if (type === ICMP_TIME_EXCEEDED) return "lost";
  if (type !== ICMP_UNREACHABLE) return null;
  if (code === UNREACHABLE_TOO_BIG) return "too-big";
  return code === UNREACHABLE_PORT || code === UNREACHABLE_PROTOCOL ? "refused" : "lost";
}

function kind6(type: number, code: number): GuestError | null {
  if (type === ICMP6_TOO_BIG) return "too-big";
  if (type === ICMP6_TIME_EXCEEDED) return "lost";
  if (type !== ICMP6_UNREACHABLE) return null;
  return code === UNREACHABLE6_PORT ? "refused" : "lost";
}

/** Length of the quoted IP header; -1 when the quote is too short, or of a fragment other than the first. */
function ipv4Quote(buf: Uint8Array, ip: number, len: number): number {
  if (len < IPV4_HEADER + QUOTED || buf[ip]! >> 4 !== 4 || ipv4FragmentOffset(buf, ip) !== 0) return -1;
  const header = ipv4HeaderLength(buf, ip);
  return header >= IPV4_HEADER && len >= header + QUOTED ? header : -1;
}

/** As `ipv4Quote`. Our packets have extension headers only in fragments, and errors about those concern no flow. */
function ipv6Quote(buf: Uint8Array, ip: number, len: number): number {
  return len >= IPV6_HEADER + QUOTED && buf[ip]! >> 4 === 6 ? IPV6_HEADER : -1;
}
