/** Addresses that are nobody's on the Internet, and those where clouds keep what a guest must not have. */
import { addressFromText, type IpAddress } from "../../core/address.ts";
import { get16, get32 } from "../../wire/bytes.ts";
import { ipv6Equals } from "../../wire/ipv6.ts";

/** Link-local ones (169.254.169.254 above all) aside: Alibaba's, Azure's, Oracle's; Amazon's and Google's in IPv6. */
const METADATA: readonly IpAddress[] = [
  "100.100.100.200",
  "168.63.129.16",
  "192.0.0.192",
  "fd00:ec2::254",
  "fd20:ce::254",
].map(addressFromText);

/** Networks as IPv4's address registry (RFC 6890) has them, those that are not reachable from everywhere. */
const PRIVATE4: readonly (readonly [net: number, prefix: number])[] = [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["224.0.0.0", 3],
].map(([net, prefix]) => [addressFromText(net as string).ip, prefix as number] as const);

export function inNet4(ip: number, net: number, prefix: number): boolean {
  return prefix === 0 || (ip ^ net) >>> (32 - prefix) === 0;
}

/** How long a prefix has to be that means this address on purpose; 0 for an address without secrets. */
export function guardedPrefix({ family, ip, bytes }: IpAddress): number {
  if (family === 4 && inNet4(ip, -1_442_971_648, 16)) return 16;
  for (const each of METADATA) {
    if (each.family === family && (family === 4 ? each.ip === ip : ipv6Equals(each.bytes, 0, bytes, 0)))
      return family === 4 ? 32 : 128;
  }
  return 0;
}

/**
 * Whether an address is of somebody's own network: what a name of the Internet must not lead to (DNS rebinding). In
 * IPv6 that is all but global unicast (RFC 4291 section 2.4); what carries an IPv4 address (NAT64 by RFC 6052, 6to4 by
 * RFC 3056) is what that is.
 */
export function isPrivate({ family, ip, bytes: b }: IpAddress): boolean {
  if (family === 4) return isPrivate4(ip);
  if (get32(b, 0) === 0x0064ff9b && get32(b, 4) === 0 && get32(b, 8) === 0) return isPrivate4(get32(b, 12));
  if (get16(b, 0) === 0x2002) return isPrivate4(get32(b, 2));
  if (get32(b, 0) === 0x2001_0000) return true;
  return b[0]! >> 5 !== 1;
}

function isPrivate4(ip: number): boolean {
  return PRIVATE4.some(([net, prefix]) => inNet4(ip, net, prefix));
}
