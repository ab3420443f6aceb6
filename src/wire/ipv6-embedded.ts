/** IPv4 addresses embedded in IPv6 addresses, to which translators and tunnels take a packet. */
import { get16, get32 } from "./bytes.ts";

const NONE: readonly number[] = [];
/** Interface identifiers of ISATAP (RFC 5214 section 6.1), whose last four bytes are an IPv4 address. */
const ISATAP = 0x0000_5efe;
const ISATAP_GLOBAL = 0x0200_5efe;

/**
 * The IPv4 addresses that a packet to an IPv6 address may reach by a translator or tunnel: IPv4-mapped, -compatible and
 * -translated ones (RFC 4291, RFC 2765), NAT64 with each prefix length that fits (RFC 6052 section 2.2, RFC 8215), 6to4
 * (RFC 3056), Teredo's server and client (RFC 4380), ISATAP (RFC 5214).
 */
export function embedded4(b: Uint8Array): readonly number[] {
  const first = get32(b, 0);
  const last = get32(b, 12);
  if (first === 0 && get32(b, 4) === 0) {
    const third = get32(b, 8);
    return third === 0 || third === 0xffff || third === -65_536 ? [last] : NONE;
  }
  if (first === 0x0064_ff9b) {
    if (get16(b, 4) !== 1) return [last];
    // 64:ff9b:1::/48, and its subprefixes of 56, 64 and 96 bits; byte 8 is always zero.
    const at6 = (get16(b, 6) << 16) | get16(b, 9);
    const at7 = (b[7]! << 24) | (get16(b, 9) << 8) | b[11]!;
    return [last, at6, at7, get32(b, 9)];
  }
  if (first >>> 16 === 0x2002) return [get32(b, 2)];
  if (first === 0x2001_0000) return [get32(b, 4), ~last];
  const identifier = get32(b, 8);
  return identifier === ISATAP || identifier === ISATAP_GLOBAL ? [last] : NONE;
}

/**
 * Whether an address has NAT64's well-known prefix (RFC 6052 section 2.1), and so stands for exactly one IPv4 address.
 */
export function isNat64(b: Uint8Array): boolean {
  return get32(b, 0) === 0x0064_ff9b && get32(b, 4) === 0 && get32(b, 8) === 0;
}
