/**
 * Neighbour discovery (RFC 4861) as ICMPv6 messages: `at` is the ICMPv6 header's first byte, `len` the message's
 * length. The receiver of the packet checks the hop limit (255) and the ICMPv6 checksum; `ndpCheck` checks the rest of
 * the rules of sections 6.1 and 7.1 for the bytes. After it the accessors cannot fail.
 */
import { put16, put32 } from "./bytes.ts";
import { icmp6Write } from "./icmp6.ts";
import { ipv6Copy } from "./ipv6.ts";

/** The hop limit of every message: a message that a router has forwarded has less (RFC 4861 section 3.1). */
export const NDP_HOP_LIMIT = 255;
export const NDP_ROUTER_SOLICIT = 133;
export const NDP_ROUTER_ADVERT = 134;
export const NDP_NEIGHBOUR_SOLICIT = 135;
export const NDP_NEIGHBOUR_ADVERT = 136;
export const NDP_REDIRECT = 137;

/**
 * Option types (RFC 4861 section 4.6, RFC 8106 section 5). An option's length counts in units of 8 bytes, its type and
 * length bytes included.
 */
export const NDP_OPT_SOURCE_MAC = 1;
export const NDP_OPT_TARGET_MAC = 2;
export const NDP_OPT_PREFIX = 3;
export const NDP_OPT_MTU = 5;
export const NDP_OPT_RDNSS = 25;
export const NDP_OPT_DNSSL = 31;

/** Flags of a neighbour advertisement, as bits of its second word (RFC 4861 section 4.4). */
export const NA_ROUTER: number = 0x80000000 | 0;
export const NA_SOLICITED = 0x40000000;
export const NA_OVERRIDE = 0x20000000;

/** Flags of a router advertisement (RFC 4861 section 4.2). */
export const RA_MANAGED = 0x80;
export const RA_OTHER = 0x40;
/** Flags of a prefix (RFC 4861 section 4.6.2). */
export const PREFIX_ON_LINK = 0x80;
export const PREFIX_AUTONOMOUS = 0x40;

const MAC_OPTION = 8;
const RA_FIXED = 16;
/** The length of each type's fixed part, behind which the options begin. */
const FIXED: Readonly<Record<number, number>> = {
  [NDP_ROUTER_SOLICIT]: 8,
  [NDP_ROUTER_ADVERT]: RA_FIXED,
  [NDP_NEIGHBOUR_SOLICIT]: 24,
  [NDP_NEIGHBOUR_ADVERT]: 24,
  [NDP_REDIRECT]: 40,
};

/** Whether an ICMPv6 type is one of neighbour discovery. */
export function ndpIsNdp(type: number): boolean {
  return type >= NDP_ROUTER_SOLICIT && type <= NDP_REDIRECT;
}

/**
 * Whether `len` bytes are a message of code 0 with its fixed part, and with options that fill the rest exactly, none of
 * length 0.
 */
export function ndpCheck(buf: Uint8Array, at: number, len: number): boolean {
  const fixed = len > 0 ? FIXED[buf[at]!] : undefined;
  if (fixed === undefined || len < fixed || buf[at + 1] !== 0) return false;
  const end = at + len;
  for (let i = at + fixed; i < end; i += 8 * buf[i + 1]!) {
    if (i + 8 > end || buf[i + 1] === 0 || i + 8 * buf[i + 1]! > end) return false;
  }
  return true;
}

/** Where the target of a neighbour solicitation or advertisement stands. */
export function ndpTarget(_buf: Uint8Array, at: number): number {
  return at + 8;
}

/** The offset of the first option of this type in a checked message; -1 for none. */
export function ndpOption(buf: Uint8Array, at: number, len: number, type: number): number {
  const end = at + len;
  for (let i = at + FIXED[buf[at]!]!; i < end; i += 8 * buf[i + 1]!) if (buf[i] === type) return i;
  return -1;
}

/**
 * The offset of the MAC in a link-layer address option of a checked message; -1 if there is none, or if it belongs to
 * another kind of link.
 */
export function ndpMac(buf: Uint8Array, at: number, len: number, type: number): number {
  const option = ndpOption(buf, at, len, type);
  return option < 0 || buf[option + 1] !== 1 ? -1 : option + 2;
}

/** The length of a neighbour solicitation or advertisement with one link-layer address. */
export const NDP_NEIGHBOUR_LENGTH: number = 24 + MAC_OPTION;

/** Writes a neighbour advertisement with the target's MAC at `at`, behind the IPv6 header at `ip`. */
export function ndpWriteAdvert(
  buf: Uint8Array,
  ip: number,
  at: number,
  flags: number,
  target: Uint8Array,
  targetAt: number,
  mac: Uint8Array,
): void {
  ipv6Copy(buf, at + 8, target, targetAt);
  ndpPutMac(buf, at + 24, NDP_OPT_TARGET_MAC, mac);
  icmp6Write(buf, ip, at, NDP_NEIGHBOUR_ADVERT, 0, flags, NDP_NEIGHBOUR_LENGTH - 8);
}

/** Writes a neighbour solicitation with our MAC as the source's at `at`, behind the IPv6 header at `ip`. */
export function ndpWriteSolicit(
  buf: Uint8Array,
  ip: number,
  at: number,
  target: Uint8Array,
  targetAt: number,
  mac: Uint8Array,
): void {
  ipv6Copy(buf, at + 8, target, targetAt);
  ndpPutMac(buf, at + 24, NDP_OPT_SOURCE_MAC, mac);
  icmp6Write(buf, ip, at, NDP_NEIGHBOUR_SOLICIT, 0, 0, NDP_NEIGHBOUR_LENGTH - 8);
}

/** The offset of the first option in a router advertisement at `at`. */
export function ndpRouterOptions(at: number): number {
  return at + RA_FIXED;
}

/**
 * Completes a router advertisement whose options stand behind its fixed part and end at `end`. `lifetime` is in
 * seconds; 0 means "not a default router". The reachable and retransmission times are 0, which leaves them to the
 * guest.
 */
export function ndpWriteRouter(
  buf: Uint8Array,
  ip: number,
  at: number,
  end: number,
  hopLimit: number,
  flags: number,
  lifetime: number,
): void {
  put32(buf, at + 8, 0);
  put32(buf, at + 12, 0);
  icmp6Write(buf, ip, at, NDP_ROUTER_ADVERT, 0, (hopLimit << 24) | (flags << 16) | lifetime, end - at - 8);
}

/** Each `ndpPut…` writes one option and returns the offset behind it. */
export function ndpPutMac(buf: Uint8Array, at: number, type: number, mac: Uint8Array): number {
  buf[at] = type;
  buf[at + 1] = 1;
  for (let i = 0; i < 6; i++) buf[at + 2 + i] = mac[i]!;
  return at + MAC_OPTION;
}

/**
 * Writes a prefix (RFC 4861 section 4.6.2). Lifetimes are in seconds; bits of the address beyond `bits` are sent as
 * zero.
 */
export function ndpPutPrefix(
  buf: Uint8Array,
  at: number,
  prefix: Uint8Array,
  bits: number,
  flags: number,
  valid: number,
  preferred: number,
): number {
  buf[at] = NDP_OPT_PREFIX;
  buf[at + 1] = 4;
  buf[at + 2] = bits;
  buf[at + 3] = flags;
  put32(buf, at + 4, valid);
  put32(buf, at + 8, preferred);
  put32(buf, at + 12, 0);
  for (let i = 0; i < 16; i++) {
    const keep = Math.min(8, Math.max(0, bits - 8 * i));
    buf[at + 16 + i] = prefix[i]! & (0xff00 >> keep);
  }
  return at + 32;
}

export function ndpPutMtu(buf: Uint8Array, at: number, mtu: number): number {
  buf[at] = NDP_OPT_MTU;
  buf[at + 1] = 1;
  put16(buf, at + 2, 0);
  put32(buf, at + 4, mtu);
  return at + 8;
}

/** Writes DNS servers (RFC 8106 section 5.1): 16 bytes for each address, `lifetime` in seconds. */
export function ndpPutRdnss(buf: Uint8Array, at: number, servers: readonly Uint8Array[], lifetime: number): number {
  buf[at] = NDP_OPT_RDNSS;
  buf[at + 1] = 1 + 2 * servers.length;
  put16(buf, at + 2, 0);
  put32(buf, at + 4, lifetime);
  let i = at + 8;
  for (const server of servers) {
    ipv6Copy(buf, i, server, 0);
    i += 16;
  }
  return i;
}

/**
 * Writes a domain search list made by `dnsEncodeNames` (RFC 8106 section 5.2), at most 2032 bytes, padded with zeros.
 */
export function ndpPutDnssl(buf: Uint8Array, at: number, names: Uint8Array, lifetime: number): number {
  const units = 1 + Math.ceil(names.length / 8);
  buf[at] = NDP_OPT_DNSSL;
  buf[at + 1] = units;
  put16(buf, at + 2, 0);
  put32(buf, at + 4, lifetime);
  buf.fill(0, at + 8, at + 8 * units);
  buf.set(names, at + 8);
  return at + 8 * units;
}
